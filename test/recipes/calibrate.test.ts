import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { createModelEncoder, type Embeddings } from '../../src/pooling/packed-encoder.js';
import { calibrate, momentsOf } from '../../src/recipes/calibrate.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'calibrate-'));
});
afterAll(() => rm(folder, { recursive: true }));

const texts = [
  'the horse ran',
  'a small house near a river',
  'water',
  'the sky over the hill is blue',
  'one more',
];

async function encode(path: string, list: readonly string[], method?: string): Promise<Embeddings> {
  const model = await loadEmbeddingModel(path, method === undefined ? {} : { method });
  const encoder = createModelEncoder(model, { threads: 1 });
  try {
    return await encoder.encode(list, { normalise: false });
  } finally {
    await encoder.dispose();
  }
}

describe('calibrate', () => {
  it('brings the texts it saw to mean 0 and deviation 1, and each text stays the same in any batch', async () => {
    const file = join(folder, 'texts.txt');
    await writeFile(file, `${texts.join('\n')}\n`);
    const output = join(folder, 'calibrated');
    expect(
      await calibrate({ model: 'embedded', method: 'prompt-eol', texts: file, output, threads: 1 }),
    ).toBe(texts.length);
    const standard = await encode(output, texts);
    const { mean, deviation } = momentsOf(standard);
    for (const value of mean) expect(Math.abs(value)).toBeLessThan(1e-4);
    for (const value of deviation) expect(Math.abs(value - 1)).toBeLessThan(1e-3);

    const plain = await encode('embedded', texts, 'prompt-eol');
    const before = momentsOf(plain);
    standard.data.forEach((value, i) => {
      const column = i % standard.dimensions;
      const expected = (plain.data[i]! - before.mean[column]!) / before.deviation[column]!;
      expect(Math.abs(value - expected)).toBeLessThan(1e-3);
    });
    const alone = await encode(output, texts.slice(2, 3));
    alone.data.forEach((value, i) =>
      expect(Math.abs(value - standard.data[2 * standard.dimensions + i]!)).toBeLessThan(1e-3),
    );
  });

  it('says what it cannot do', async () => {
    const file = join(folder, 'one.txt');
    await writeFile(file, 'one text\n');
    await expect(calibrate({ model: 'embedded', texts: file, output: join(folder, 'new') })).rejects.toThrow(
      /too few texts to measure/,
    );
    await expect(calibrate({ model: 'embedded', texts: file, output: folder })).rejects.toThrow(
      /the output exists/,
    );
  });
});
