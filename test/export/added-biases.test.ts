import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { exportFolder } from '../../src/export/folder.js';
import { addedBiases, withAddedBiases } from '../../src/models/added-biases.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import type { EmbeddingModel } from '../../src/pooling/embedding-model.js';
import { openModel } from '../../src/recipes/open-model.js';
import { exists } from '../../src/shared/files.js';
import { randomStream } from '../../src/shared/random.js';
import { encodeWith, hasStockModules, largestDifference, temporaryFolders, texts } from './models.js';

const temporary = temporaryFolders();

/** A tiny decoder with random biases on its matrices. */
async function biased(family: string): Promise<EmbeddingModel> {
  const path = new URL(`../golden/families/${family}`, import.meta.url).pathname;
  const model = await loadEmbeddingModel(path);
  const decoder = withAddedBiases(model.decoder);
  const random = randomStream(4);
  for (const name of addedBiases(decoder.config)) {
    const values = decoder.weights.get(name) as Float32Array;
    for (let i = 0; i < values.length; i++) values[i] = 0.3 * random.normal();
  }
  expect(
    largestDifference((await encodeWith(model)).data, (await encodeWith({ ...model, decoder })).data),
  ).toBeGreaterThan(0.01);
  return { ...model, decoder };
}

/** Whether config.json can say them. */
it.each([
  ['llama', true],
  ['smollm3', true],
  ['modernbert', true],
  ['gemma2', false],
  ['qwen3', false],
])('biases on the matrices of %s are in the graph, and in safetensors: %s', async (family, said) => {
  const model = await biased(family);
  const output = join(await temporary(), 'embedder');
  const { files } = await exportFolder(model, output, { formats: ['float32', 'int8'], threads: 1 });
  expect(files[0]!.verification.largestDifference).toBeLessThan(1e-5);
  const expected = await encodeWith(model);
  const embedder = await Embedder.open(output);
  expect(largestDifference((await embedder.encode(texts)).data, expected.data)).toBeLessThan(1e-5);
  await embedder.dispose();

  expect(await exists(join(output, 'model.safetensors'))).toBe(said);
  expect(await hasStockModules(output)).toBe(said);
  const card = await readFile(join(output, 'README.md'), 'utf8');
  expect(card.includes('There is no `model.safetensors`')).toBe(!said);
  const config = JSON.parse(await readFile(join(output, 'config.json'), 'utf8')) as object;
  if (said) {
    expect(config).toMatchObject({ attention_bias: true, mlp_bias: true });
    expect(
      largestDifference((await encodeWith(await loadEmbeddingModel(output))).data, expected.data),
    ).toBeLessThan(1e-6);
  } else await expect(loadEmbeddingModel(output)).rejects.toThrow(/no weights/);

  const opened = await openModel({ model: output, probe: false });
  let parameters = 0;
  for (const [name, weight] of model.decoder.weights)
    if (name !== model.decoder.config.output.head) parameters += weight.length;
  expect(opened.meta.parameters).toBe(parameters);
  await opened.close();
});
