import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { Embedder } from '../../src/embedder/embedder.js';
import { exportFolder } from '../../src/export/folder.js';
import { decoderWithTokens } from '../../src/models/added-tokens.js';
import { preparer } from '../../src/data/prompts.js';
import { openSafetensors, writeSafetensors } from '../../src/models/weights/index.js';
import type { TensorToWrite } from '../../src/models/weights/safetensors-writer.js';
import { recipePreparer } from '../../src/pooling/embedding-model.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { createModelEncoder } from '../../src/pooling/packed-encoder.js';
import { tokenNames } from '../../src/pooling/special-tokens.js';
import { UserError } from '../../src/shared/errors.js';
import { largestDifference, temporaryFolders } from '../export/models.js';
import { familyDecoder, familyGolden, variantFolder, variants } from './family-golden.js';

const temporary = temporaryFolders();
const encoders = ['bert', 'roberta', 'xlm-roberta', 'modernbert'];

it('are all variants with encoded texts', () => {
  expect(variants).toEqual(expect.arrayContaining(encoders));
});

describe.each(encoders)('%s', (variant) => {
  it('encodes hard texts as the tokenizers library does, special tokens around them', async () => {
    const { decoder, encoded } = await familyGolden(variant);
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
    const prepare = preparer({ tokenizer, pool: 'all', maxTokens: 64 });
    expect([tokenizer.addBos, tokenizer.addEos]).toEqual([true, true]);
    for (const [text, ids] of encoded!) {
      if (text === '') expect([tokenizer.bosTokenId, tokenizer.eosTokenId]).toEqual(ids);
      else expect([...prepare(text).ids], text).toEqual(ids);
    }
  });

  it('keeps its last special token where a text is cut, and finds a text within its prompt', async () => {
    const { decoder, encoded } = await familyGolden(variant);
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
    const [text, ids] = encoded![0]!;
    const cut = preparer({ tokenizer, pool: 'all', maxTokens: 6 })(text);
    // A cut text can end before its sixth token: `▁` alone is no text.
    const kept = cut.ids.length - 1;
    expect(kept).toBeGreaterThanOrEqual(4);
    expect(kept).toBeLessThanOrEqual(5);
    expect([...cut.ids]).toEqual([...ids.slice(0, kept), ids.at(-1)]);
    const prompted = preparer({ tokenizer, pool: 'text', maxTokens: 64, prompt: 'that mat: {text}' })(text);
    expect(prompted.pool[0]).toBe(0);
    expect(prompted.pool.at(-1)).toBe(0);
    const own = prompted.ids.filter((_, i) => prompted.pool[i] === 1);
    expect(
      tokenizer
        .decode(own)
        .trim()
        .replace(/^\u2581/, ''),
    ).toBe(text);
  });

  it('has special tokens of a pooling behind its own, in the exported folder too', async () => {
    const model = await loadEmbeddingModel(variantFolder(variant));
    const pooling = { type: 'specialTokens', layer: -1, tokens: 2, aggregate: 'mean' } as const;
    const decoder = decoderWithTokens(model.decoder, tokenNames(2), {});
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
    const recipe = { ...model.recipe, pooling };
    const [text, ids] = (await familyGolden(variant)).encoded![0]!;
    const first = decoder.config.embedding.added!.first;
    expect([...recipePreparer(recipe, tokenizer)(text).ids]).toEqual([...ids, first, first + 1]);
    const output = join(await temporary(), 'embedder');
    await exportFolder({ ...model, decoder, recipe }, output);
    const embedder = await Embedder.open(output);
    const { data } = await embedder.encode([text]);
    await embedder.dispose();
    const encoder = createModelEncoder({ ...model, decoder, recipe });
    expect(largestDifference(data, (await encoder.encode([text])).data)).toBeLessThan(1e-5);
    await encoder.dispose();
  });

  it('sees both sides, and says so where it is asked for anything else', async () => {
    const folder = variantFolder(variant);
    expect((await loadEmbeddingModel(folder)).recipe.attention).toBe('bidirectional');
    for (const attention of ['causal', { lastLayers: 1 }] as const) {
      const asked = loadEmbeddingModel(folder, { attention });
      await expect(asked).rejects.toThrow(UserError);
      await expect(asked).rejects.toThrow(
        /is an encoder, which always sees both sides.*expected bidirectional/,
      );
    }
  });

  it('ends where its learned positions end', async () => {
    const { config } = await familyDecoder(variantFolder(variant));
    const most = { bert: 32, roberta: 30, 'xlm-roberta': 30, modernbert: 64 }[variant];
    expect(config.max_position_embeddings).toBe(most);
  });
});

it("is loaded with the words of BERT's first release", async () => {
  const folder = await temporary();
  await cp(variantFolder('bert'), folder, { recursive: true });
  const path = join(folder, 'model.safetensors');
  const store = await openSafetensors(path);
  const tensors: TensorToWrite[] = [];
  for (const name of store.names) {
    const old = name
      .replace('LayerNorm.weight', 'LayerNorm.gamma')
      .replace('LayerNorm.bias', 'LayerNorm.beta');
    const data = await store.read(name);
    tensors.push({ ...store.info(name)!, name: `bert.${old}`, storedType: 'F32', data });
  }
  await store.close();
  const head = { ...tensors[0]!, name: 'cls.predictions.transform.dense.bias' };
  await writeSafetensors(path, [...tensors, head, { ...head, name: 'bert.embeddings.position_ids' }]);
  const [old, plain] = [await familyDecoder(folder), await familyDecoder(variantFolder('bert'))];
  expect(old.weights).toEqual(plain.weights);
});

it.each([
  ['bert', { position_embedding_type: 'relative_key' }, 'position_embedding_type "relative_key"'],
  ['roberta', { is_decoder: true }, 'is_decoder true'],
  ['modernbert', { hidden_activation: 'relu2' }, 'hidden_activation "relu2"'],
])('%s with %j is refused', async (variant, change, words) => {
  const folder = await temporary();
  await cp(variantFolder(variant), folder, { recursive: true });
  const path = join(folder, 'config.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as object;
  await writeFile(path, JSON.stringify({ ...config, ...change }));
  await expect(familyDecoder(folder)).rejects.toThrow(words);
});
