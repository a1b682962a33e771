import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { initialiseDecoder, initialiseSchema } from '../../src/models/initialise.js';
import { openDecoder } from '../../src/models/weights/index.js';
import { writeDecoder } from '../../src/models/write-decoder.js';

it('writes a folder that opens as the same decoder, in float16', async () => {
  const shape = initialiseSchema.parse({
    family: 'llama',
    vocab_size: 300,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
  });
  const sentence = 'the quick brown fox jumps over a lazy dog while seven wizards mixed potions quietly';
  const texts = [sentence, sentence, sentence];
  const decoder = initialiseDecoder({ shape, seed: 3, texts });
  const folder = await mkdtemp(join(tmpdir(), 'decoder-'));
  await writeFile(join(folder, 'README.md'), 'stays');
  await writeDecoder(decoder, folder, 'F16');

  const again = await openDecoder(folder);
  expect([...again.weights.names].sort()).toEqual([...decoder.weights.names].sort());
  for (const name of decoder.weights.names) {
    const before = await decoder.weights.read(name);
    const after = await again.weights.read(name);
    expect(again.weights.info(name)?.storedType).toBe('F16');
    expect(again.weights.info(name)?.shape).toEqual(decoder.weights.info(name)?.shape);
    const off = before.reduce((most, x, i) => Math.max(most, Math.abs(x - after[i]!)), 0);
    // Half of float16's spacing for values below 0.125, and exact for the norms' ones.
    expect(off).toBeLessThanOrEqual(2 ** -15);
  }
  await again.weights.close();
  expect(again.config).toEqual({ ...decoder.config, torch_dtype: 'float16' });
  const ids = (source: typeof decoder): Int32Array =>
    createTokenizer(source.tokenizer.json, source.tokenizer.config).encode(sentence);
  expect(ids(again)).toEqual(ids(decoder));
  expect(await readFile(join(folder, 'README.md'), 'utf8')).toBe('stays');
});
