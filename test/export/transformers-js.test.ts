import { basename, dirname, join } from 'node:path';
import { AutoModel, AutoTokenizer, env, pipeline, type Tensor } from '@huggingface/transformers';
import { beforeAll, describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { exportFolder } from '../../src/export/folder.js';
import { transformersJsType } from '../../src/export/formats/names.js';
import { exportFormats } from '../../src/pooling/manifest.js';
import type { EmbeddingRecipe } from '../../src/pooling/embedding-model.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { variantFolder } from '../models/family-golden.js';
import { encodeWith, largestDifference, modelWith, temporaryFolders, texts } from './models.js';

const temporary = temporaryFolders();

beforeAll(() => {
  env.allowRemoteModels = false;
});

/** transformers.js finds local models by their names below one folder. */
async function exported(recipe: Partial<EmbeddingRecipe>): Promise<{ name: string; expected: Float32Array }> {
  const model = await modelWith(recipe);
  const output = join(await temporary(), 'embedder');
  await exportFolder(model, output);
  env.localModelPath = dirname(output);
  return { name: basename(output), expected: (await encodeWith(model)).data };
}

const latent = {
  type: 'latentAttention',
  layer: -1,
  latents: 4,
  heads: 2,
  headDimension: 6,
  feedForward: 'gelu',
  feedForwardMultiple: 2,
  aggregate: 'eos',
} as const;

const cases: readonly (readonly [
  string,
  Partial<EmbeddingRecipe>,
  'mean' | 'cls' | 'last_token' | undefined,
])[] = [
  ['mean', { attention: 'bidirectional', pooling: { type: 'mean', layer: -1 } }, 'mean'],
  ['first', { attention: 'bidirectional', pooling: { type: 'first', layer: -1 } }, 'cls'],
  ['last', { pooling: { type: 'last', layer: -1 } }, 'last_token'],
  ['eos', { attention: 'bidirectional', pooling: { type: 'eos', layer: -1 } }, 'last_token'],
  [
    'special tokens, the last',
    { pooling: { type: 'specialTokens', layer: -1, tokens: 3, aggregate: 'last' } },
    'last_token',
  ],
  [
    'special tokens, their mean',
    {
      attention: 'bidirectional',
      pooling: { type: 'specialTokens', layer: -1, tokens: 3, aggregate: 'mean' },
    },
    undefined,
  ],
  ['weighted mean', { pooling: { type: 'weightedMean', layer: -1 } }, undefined],
  ['latent attention', { attention: 'bidirectional', pooling: latent }, undefined],
];

describe('transformers.js opens the folder', () => {
  it.each(cases)('%s', async (_name, recipe, pooling) => {
    const { name, expected } = await exported(recipe);
    const tokenizer = await AutoTokenizer.from_pretrained(name);
    const model = await AutoModel.from_pretrained(name, { dtype: 'fp32', device: 'cpu' });
    const inputs: unknown = tokenizer(texts, { padding: true, truncation: true });
    const { sentence_embedding: vectors } = (await model(inputs)) as { sentence_embedding: Tensor };
    expect(largestDifference(vectors.data as Float32Array, expected)).toBeLessThan(1e-5);
    await model.dispose();
    if (pooling === undefined) return;
    const extract = await pipeline('feature-extraction', name, { dtype: 'fp32', device: 'cpu' });
    const extracted = await extract(texts, { pooling, normalize: true });
    expect(largestDifference(extracted.data as Float32Array, expected)).toBeLessThan(1e-5);
    await extract.dispose();
  });
});

describe('texts that transformers.js cuts at their end, special tokens and all', () => {
  const special = { type: 'specialTokens', layer: -1, tokens: 3 } as const;
  const cut: readonly (readonly [string, EmbeddingRecipe['pooling']])[] = [
    ['special tokens, the last', { ...special, aggregate: 'last' }],
    ['special tokens, their mean', { ...special, aggregate: 'mean' }],
    ['eos', { type: 'eos', layer: -1 }],
    ['latent attention, eos', latent],
  ];
  it.each(cut)('%s', async (_name, pooling) => {
    const model = await modelWith({ attention: 'bidirectional', pooling, maxTokens: 7 });
    const output = join(await temporary(), 'embedder');
    await exportFolder(model, output);
    env.localModelPath = dirname(output);
    const tokenizer = await AutoTokenizer.from_pretrained('embedder');
    const theirs = await AutoModel.from_pretrained('embedder', { dtype: 'fp32', device: 'cpu' });
    const inputs = tokenizer(texts, { padding: true, truncation: true }) as { input_ids: Tensor };
    expect(inputs.input_ids.dims).toEqual([texts.length, 7]);
    const { sentence_embedding: vectors } = (await theirs(inputs)) as { sentence_embedding: Tensor };
    await theirs.dispose();
    expect(largestDifference(vectors.data as Float32Array, (await encodeWith(model)).data)).toBeLessThan(
      1e-5,
    );
  });
});

describe('transformers.js opens an encoder', () => {
  // Whole texts, and cut ones, which lose their [SEP] with their end there.
  it.each([64, 7])('of at most %i tokens', async (maxTokens) => {
    const loaded = await loadEmbeddingModel(variantFolder('bert'));
    const model = { ...loaded, recipe: { ...loaded.recipe, maxTokens } };
    const output = join(await temporary(), 'embedder');
    await exportFolder(model, output);
    env.localModelPath = dirname(output);
    const tokenizer = await AutoTokenizer.from_pretrained('embedder');
    const theirs = await AutoModel.from_pretrained('embedder', { dtype: 'fp32', device: 'cpu' });
    const inputs: unknown = tokenizer(texts, { padding: true, truncation: true });
    const { sentence_embedding: vectors } = (await theirs(inputs)) as { sentence_embedding: Tensor };
    await theirs.dispose();
    expect(largestDifference(vectors.data as Float32Array, (await encodeWith(model)).data)).toBeLessThan(
      1e-5,
    );
  });
});

describe('transformers.js opens every format', () => {
  it('and gives what our own embedder gives', async () => {
    const model = await modelWith({ attention: 'bidirectional', pooling: { type: 'mean', layer: -1 } });
    for (const externalAbove of [1e9, 1000]) {
      const output = join(await temporary(), 'embedder');
      await exportFolder(model, output, { formats: exportFormats, externalAbove });
      env.localModelPath = dirname(output);
      const tokenizer = await AutoTokenizer.from_pretrained('embedder');
      const inputs: unknown = tokenizer(texts, { padding: true, truncation: true });
      for (const format of exportFormats) {
        const own = await Embedder.open(output, { dtype: format });
        const expected = await own.encode(texts);
        await own.dispose();
        const theirs = await AutoModel.from_pretrained('embedder', {
          dtype: transformersJsType[format] as 'fp32',
          device: 'cpu',
        });
        const { sentence_embedding: vectors } = (await theirs(inputs)) as { sentence_embedding: Tensor };
        await theirs.dispose();
        expect(largestDifference(vectors.data as Float32Array, expected.data)).toBeLessThan(1e-4);
      }
    }
  });
});
