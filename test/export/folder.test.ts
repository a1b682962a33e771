import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { ForeignOnnxEmbedder } from '../../src/embedder/foreign-onnx.js';
import { valuesOf } from '../../src/models/resident.js';
import { exportFolder } from '../../src/export/folder.js';
import type { EmbeddingRecipe } from '../../src/pooling/embedding-model.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { exists } from '../../src/shared/files.js';
import {
  encodeWith,
  hasStockModules,
  largestDifference,
  modelWith,
  temporaryFolders,
  texts,
} from './models.js';

const temporary = temporaryFolders();

async function jsonOf(folder: string, name: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(folder, name), 'utf8')) as Record<string, unknown>;
}

/** Recipes and whether the stock modules of sentence-transformers can say them. */
const recipes: readonly (readonly [
  string,
  Partial<EmbeddingRecipe>,
  { readonly stock: boolean; readonly variant?: string },
])[] = [
  ['first, causal', { pooling: { type: 'first', layer: -1 } }, { stock: true }],
  [
    'mean, bidirectional',
    { attention: 'bidirectional', pooling: { type: 'mean', layer: -1 } },
    { stock: true, variant: 'rope-llama3' },
  ],
  [
    'mean, last layers',
    { attention: { lastLayers: 1 }, pooling: { type: 'mean', layer: -1 } },
    { stock: false },
  ],
  [
    'mean of the layer before',
    { attention: 'bidirectional', pooling: { type: 'mean', layer: -2 } },
    { stock: false },
  ],
  ['input embeddings', { pooling: { type: 'mean', layer: 0 } }, { stock: false }],
  ['weighted mean', { pooling: { type: 'weightedMean', layer: -1 } }, { stock: true, variant: 'tied' }],
  ['last', { pooling: { type: 'last', layer: -1 } }, { stock: true, variant: 'bias' }],
  ['eos', { attention: 'bidirectional', pooling: { type: 'eos', layer: -1 } }, { stock: true }],
  [
    'special tokens, the last',
    { pooling: { type: 'specialTokens', layer: -1, tokens: 3, aggregate: 'last' } },
    { stock: true, variant: 'tied' },
  ],
  [
    'special tokens, their mean, behind a frame',
    {
      attention: 'bidirectional',
      pooling: { type: 'specialTokens', layer: -1, tokens: 2, aggregate: 'mean' },
      prompt: 'the "{text}":"',
    },
    { stock: false },
  ],
  [
    'latent attention',
    {
      attention: 'bidirectional',
      pooling: {
        type: 'latentAttention',
        layer: -1,
        latents: 6,
        heads: 2,
        headDimension: 5,
        feedForward: 'geglu',
        feedForwardMultiple: 2,
        aggregate: 'mean',
      },
    },
    { stock: false },
  ],
  [
    'a frame, its last token',
    { prompt: { frame: 'the "{text}":"', pool: 'last' }, pooling: { type: 'last', layer: -1 } },
    { stock: false },
  ],
  [
    'a frame, all tokens',
    { prompt: { frame: 'the: {text}', pool: 'all' }, pooling: { type: 'mean', layer: -1 } },
    { stock: true },
  ],
];

describe('an exported folder is the model', () => {
  it.each(recipes)('%s', async (_name, recipe, { stock, variant }) => {
    const model = await modelWith(recipe, variant);
    const output = join(await temporary(), 'embedder');
    const { files, probe } = await exportFolder(model, output);
    expect(files.map(({ path }) => path)).toEqual(['onnx/model.onnx']);
    expect(files[0]!.verification.largestDifference).toBeLessThan(1e-5);
    expect(probe.passed).toBe(true);

    const expected = await encodeWith(model);
    const embedder = await Embedder.open(output);
    expect(embedder.model).toBeUndefined();
    expect(largestDifference((await embedder.encode(texts)).data, expected.data)).toBeLessThan(1e-5);
    await embedder.dispose();

    // The weights beside the graph are the same model too.
    const reopened = await loadEmbeddingModel(output);
    expect(reopened.recipe).toEqual(model.recipe);
    expect((await encodeWith(reopened)).data).toEqual(expected.data);

    expect(await hasStockModules(output)).toBe(stock);
    const config = await jsonOf(output, 'config.json');
    expect(config).toMatchObject({
      architectures: ['LlamaModel'],
      is_causal: model.recipe.attention === 'causal',
    });
    expect(await jsonOf(output, 'tokenizer_config.json')).not.toHaveProperty('chat_template');
  });

  it('keeps large weights in a second file', async () => {
    const model = await modelWith({ attention: 'bidirectional' });
    const output = join(await temporary(), 'embedder');
    const { files } = await exportFolder(model, output, { externalAbove: 1000 });
    expect((await readdir(join(output, 'onnx'))).sort()).toEqual(['model.onnx', 'model.onnx_data']);
    expect(files[0]!.verification.largestDifference).toBeLessThan(1e-5);
    expect(await jsonOf(output, 'config.json')).toMatchObject({
      'transformers.js_config': { use_external_data_format: { 'model.onnx': 1 } },
    });
  });
});

describe('where not every token is pooled', () => {
  it('a frame whose end may merge with the text gets a third input, and no file for two', async () => {
    const model = await modelWith({ prompt: 'the "{text}":"', attention: 'bidirectional' });
    const output = join(await temporary(), 'embedder');
    const { files } = await exportFolder(model, output);
    expect(files.map(({ path, pooled }) => [path, pooled.kind])).toEqual([
      ['onnx/model_pool_mask.onnx', 'input'],
    ]);
    expect(await readdir(join(output, 'onnx'))).toEqual(['model_pool_mask.onnx']);
    expect(await hasStockModules(output)).toBe(false);
    const embedder = await Embedder.open(output);
    const actual = await embedder.encode(texts);
    await embedder.dispose();
    expect(largestDifference(actual.data, (await encodeWith(model)).data)).toBeLessThan(1e-5);
    expect(await readFile(join(output, 'README.md'), 'utf8')).toContain('cannot use this folder');
  });

  it('a prefix that ends in a token of its own gets both, and they agree', async () => {
    const model = await modelWith({ prompt: 'the cat</s>{text}' });
    const output = join(await temporary(), 'embedder');
    const { files } = await exportFolder(model, output);
    expect(files.map(({ pooled }) => pooled)).toEqual([
      { kind: 'afterPrefix', tokens: 3 },
      { kind: 'input' },
    ]);
    for (const { verification } of files) expect(verification.largestDifference).toBeLessThan(1e-5);
    // sentence-transformers would count the prompt's tokens otherwise.
    expect(await hasStockModules(output)).toBe(false);
    // Who takes the graph's own vectors needs the prompt, and no more.
    expect(await jsonOf(output, 'config_sentence_transformers.json')).toMatchObject({
      prompts: { default: 'the cat</s>' },
      default_prompt_name: 'default',
    });
    expect(await readFile(join(output, 'README.md'), 'utf8')).toContain(
      'text-embeddings-router --model-id embedder --pooling mean --default-prompt-name default',
    );
  });
});

describe('prompts for tools that take the vectors of the graph', () => {
  const latentAttention = recipes.find(([name]) => name === 'latent attention')![1];

  it('are written with the longest text where there is no stock module', async () => {
    const prompts = {
      query: { frame: 'the cat: {text}', pool: 'all' },
      passage: '{text}',
    } as const;
    const model = await modelWith({ ...latentAttention, prompts, prompt: prompts.query, maxTokens: 30 });
    const output = join(await temporary(), 'embedder');
    const { files } = await exportFolder(model, output);
    expect(files.map(({ path }) => path)).toEqual(['onnx/model.onnx']);
    expect(await hasStockModules(output)).toBe(false);
    expect(await jsonOf(output, 'config_sentence_transformers.json')).toEqual({
      prompts: { query: 'the cat: ', passage: '' },
      default_prompt_name: 'query',
      similarity_fn_name: 'cosine',
    });
    expect(await jsonOf(output, 'sentence_bert_config.json')).toMatchObject({ max_seq_length: 30 });
    const card = await readFile(join(output, 'README.md'), 'utf8');
    expect(card).toContain('--pooling mean --default-prompt-name query');
    // As text-embeddings-inference would: the prompt before the text, the graph's own vector.
    for (const name of ['lmvec.json', 'model.safetensors', 'config.json', 'pooling.safetensors'])
      await rm(join(output, name));
    const foreign = await ForeignOnnxEmbedder.open(output, { threads: 1 });
    const framed = await foreign.encode(texts.map((text) => `the cat: ${text}`));
    await foreign.dispose();
    expect(largestDifference(framed.data, (await encodeWith(model)).data)).toBeLessThan(1e-5);
  });

  it('are not where a prompt does more than stand before the text, or no graph is for them', async () => {
    const after = await modelWith({ ...latentAttention, prompt: { frame: 'the "{text}"', pool: 'all' } });
    const masked = await modelWith({ ...latentAttention, prompts: { query: 'the cat: {text}' } });
    for (const model of [after, masked]) {
      const output = join(await temporary(), 'embedder');
      await exportFolder(model, output);
      expect(await exists(join(output, 'config_sentence_transformers.json'))).toBe(false);
      expect(await exists(join(output, 'onnx', 'model.onnx'))).toBe(model === after);
    }
  });
});

it.each(['none', 'tanh'] as const)('a dense head (%s) becomes a module of its own', async (activation) => {
  const head = { type: 'dense', dimensions: 5, bias: activation === 'none', activation } as const;
  const model = await modelWith({ pooling: { type: 'mean', layer: -1, head } });
  const folder = join(await temporary(), 'embedder');
  await exportFolder(model, folder, { threads: 1 });
  // Without our own description the modules of sentence-transformers say how to embed.
  await rm(join(folder, 'lmvec.json'));
  await rm(join(folder, 'pooling.safetensors'));
  await rm(join(folder, 'onnx'), { recursive: true });
  const read = await loadEmbeddingModel(folder);
  expect(read.recipe.pooling).toEqual({ type: 'mean', layer: -1, head });
  const expected = await encodeWith(model);
  const { data, dimensions } = await encodeWith(read);
  expect(dimensions).toBe(5);
  expect(largestDifference(data, expected.data)).toBeLessThan(1e-5);
});

describe('refusals', () => {
  it('an existing folder, unless it is an embedder folder that may be replaced', async () => {
    const model = await modelWith({});
    const output = join(await temporary(), 'embedder');
    await exportFolder(model, output);
    await expect(exportFolder(model, output)).rejects.toThrow(/exists.*--overwrite/);
    await exportFolder(await modelWith({ attention: 'bidirectional' }), output, { overwrite: true });
    expect((await loadEmbeddingModel(output)).recipe.attention).toBe('bidirectional');

    const foreign = join(await temporary(), 'thesis');
    await mkdir(foreign);
    await writeFile(join(foreign, 'chapter.txt'), 'years of work');
    await expect(exportFolder(model, foreign, { overwrite: true })).rejects.toThrow(/not made by an export/);
    expect(await readdir(foreign)).toEqual(['chapter.txt']);
  });

  it('a file that does not give the model back is an error and leaves nothing', async () => {
    const model = await modelWith({});
    valuesOf(model.decoder.weights.get('model.norm.weight')!).fill(NaN);
    const parent = await temporary();
    await expect(exportFolder(model, join(parent, 'embedder'))).rejects.toThrow(
      /internal: onnx\/model.onnx is not the model/,
    );
    expect(await readdir(parent)).toEqual([]);
  });
});
