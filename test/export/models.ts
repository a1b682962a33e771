import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { decoderWithTokens } from '../../src/models/added-tokens.js';
import { createModelEncoder, type Embeddings } from '../../src/pooling/packed-encoder.js';
import type { EmbeddingModel, EmbeddingRecipe } from '../../src/pooling/embedding-model.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { createPooling, specialTokens } from '../../src/pooling/registry.js';
import { randomStream } from '../../src/shared/random.js';

/** The tiny random Llamas that transformers made: see test/golden/llama/make.py. */
export const goldenModel = (variant = 'base'): string =>
  new URL(`../golden/llama/${variant}`, import.meta.url).pathname;

/** Texts that their tokenizer can say. */
export const texts = ['the cat sat on a mat', 'a', 'the cat', 'an old ox and the other cat: "at, the. mat"'];

/** A golden model with another recipe, and random parameters for a trained pooling. */
export async function modelWith(recipe: Partial<EmbeddingRecipe>, variant = 'base'): Promise<EmbeddingModel> {
  const model = await loadEmbeddingModel(goldenModel(variant));
  const whole = { ...model.recipe, ...recipe };
  const names = specialTokens(whole.pooling);
  const decoder = names.length === 0 ? model.decoder : decoderWithTokens(model.decoder, names, { seed: 5 });
  const poolingParameters = new Map<string, Float32Array>();
  const random = randomStream(5);
  for (const [name, shape] of createPooling(whole.pooling, decoder.config).parameterShapes ?? []) {
    const length = shape.reduce((product, size) => product * size, 1);
    poolingParameters.set(
      name,
      Float32Array.from({ length }, () => 0.5 * random.normal()),
    );
  }
  return { ...model, decoder, recipe: whole, poolingParameters };
}

export async function encodeWith(
  model: EmbeddingModel,
  list: readonly string[] = texts,
): Promise<Embeddings> {
  const encoder = createModelEncoder(model);
  try {
    return await encoder.encode(list);
  } finally {
    await encoder.dispose();
  }
}

/** Makes folders that are removed after the tests of the file. */
export function temporaryFolders(): () => Promise<string> {
  const made: string[] = [];
  afterAll(async () => {
    for (const folder of made) await rm(folder, { recursive: true, force: true });
  });
  return async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lmvec-test-'));
    made.push(folder);
    return folder;
  };
}

/** Whether sentence-transformers finds modules in a folder, and does not stop at one that it does not have. */
export async function hasStockModules(folder: string): Promise<boolean> {
  const modules = JSON.parse(await readFile(join(folder, 'modules.json'), 'utf8')) as { type: string }[];
  const stock = ['Transformer', 'Pooling', 'Dense', 'Normalize'];
  return modules.every(({ type }) => stock.includes(type.replace('sentence_transformers.models.', '')));
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = a.length === b.length ? 0 : NaN;
  for (let i = 0; i < a.length; i++)
    largest = Math.max(largest, Math.abs((a[i] as number) - (b[i] as number)));
  return largest;
}
