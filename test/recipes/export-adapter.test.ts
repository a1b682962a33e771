import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { Embedder } from '../../src/embedder/embedder.js';
import { openDecoder, openSafetensors, readAdapter, writeAdapter } from '../../src/models/weights/index.js';
import { valuesOf } from '../../src/models/resident.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { exportEmbedder } from '../../src/recipes/export.js';
import { openModel } from '../../src/recipes/open-model.js';
import { runSchema, type RunConfig } from '../../src/recipes/schema.js';
import { train } from '../../src/recipes/train.js';
import { exists } from '../../src/shared/files.js';
import { randomStream } from '../../src/shared/random.js';
import { goldenModel, hasStockModules, largestDifference, texts } from '../export/models.js';

vi.setConfig({ testTimeout: 120_000 });

const cwd = await mkdtemp(join(tmpdir(), 'lmvec-adapter-'));
afterAll(() => rm(cwd, { recursive: true }));
const golden = join(import.meta.dirname, '../golden');
const chain = ['mntp', 'simcse'].map((name) => join(golden, 'peft/chain', name));

async function matricesOf(model: string): Promise<Map<string, Float32Array>> {
  const { decoder } = await loadEmbeddingModel(model);
  return new Map([...decoder.weights].map(([name, weight]) => [name, valuesOf(weight)]));
}

async function sameMatrices(a: string, b: string): Promise<void> {
  const [left, right] = [await matricesOf(a), await matricesOf(b)];
  for (const [name, values] of left)
    if (right.has(name))
      expect([name, largestDifference(values, right.get(name)!) < 1e-6]).toEqual([name, true]);
}

async function vectorsOf(folder: string): Promise<Float32Array> {
  const embedder = await Embedder.open(folder);
  const { data } = await embedder.encode(texts).finally(() => embedder.dispose());
  return data;
}

it('a chain of other ranks and matrices: what peft merges, as one adapter on the untouched base', async () => {
  const model = [goldenModel(), ...chain].join(' + ');
  const output = join(cwd, 'chain');
  await exportEmbedder({ model, output, weights: 'adapter', attention: 'bidirectional' });
  expect(await exists(join(output, 'model.safetensors'))).toBe(false);
  expect(await hasStockModules(output)).toBe(false);
  const config = JSON.parse(await readFile(join(output, 'adapter_config.json'), 'utf8')) as object;
  expect(config).toMatchObject({
    base_model_name_or_path: goldenModel(),
    task_type: 'FEATURE_EXTRACTION',
    r: 6,
    lora_alpha: 6,
    target_modules: ['down_proj', 'o_proj', 'q_proj', 'v_proj'],
  });
  const stored = await openSafetensors(join(output, 'adapter_model.safetensors'));
  // As the decoder alone names them: on a LlamaModel other names would be left out without an error.
  expect(stored.names).toContain('base_model.model.layers.0.self_attn.q_proj.lora_A.weight');
  await stored.close();
  const merged = await openSafetensors(join(golden, 'peft/chain/merged.safetensors'));
  const source = await openDecoder(output);
  for (const name of merged.names)
    expect(largestDifference(await source.weights.read(name), await merged.read(name))).toBeLessThan(1e-6);
  await merged.close();
  await source.weights.close();

  // The graph, and the adapter on its base where the recipe is changed.
  const causal = await Embedder.open(output, { attention: 'causal' });
  const reference = await Embedder.open(model);
  const [ours, theirs] = [await causal.encode(texts), await reference.encode(texts)];
  expect(largestDifference(ours.data, theirs.data)).toBeLessThan(1e-5);
  await causal.dispose();
  await reference.dispose();
  const opened = await openModel({ model: output, probe: false });
  const inMemory = await openModel({ model, attention: 'bidirectional', probe: false });
  // The head is no part of an embedder.
  const head = (await matricesOf(model)).get('lm_head.weight')!.length;
  expect(inMemory.meta.parameters! - opened.meta.parameters!).toBe(head);
  await opened.close();
  await inMemory.close();
  expect(await readFile(join(output, 'README.md'), 'utf8')).toContain('PeftModel.from_pretrained(base,');
});

it('sentence-transformers gets its modules where the base has the attention of the model', async () => {
  const output = join(cwd, 'causal');
  await exportEmbedder({ model: [goldenModel(), ...chain].join(' + '), output, weights: 'adapter' });
  expect(await hasStockModules(output)).toBe(true);
});

it('one adapter stays as it is, on matrices [in, out] too', async () => {
  const base = join(golden, 'families/gpt2');
  const { decoder } = await loadEmbeddingModel(base);
  const random = randomStream(3);
  const tensors = new Map<string, Float32Array>();
  for (const [name, shape] of decoder.shapes) {
    if (!/\.(c_attn|c_proj)\.weight$/.test(name)) continue;
    const [rows, columns] = shape as [number, number];
    const values = (length: number) => Float32Array.from({ length }, () => random.normal() / 4);
    const stem = name.slice(0, -'.weight'.length);
    tensors.set(`${stem}.lora_A.weight`, values(2 * rows)).set(`${stem}.lora_B.weight`, values(2 * columns));
  }
  const adapter = join(cwd, 'gpt2-adapter');
  const targetModules = ['c_attn', 'c_proj'];
  const layout = 'inOut';
  await writeAdapter(adapter, {
    rank: 2,
    alpha: 4,
    dropout: 0,
    targetModules,
    baseModel: base,
    layout,
    tensors,
  });
  const output = join(cwd, 'gpt2');
  await exportEmbedder({ model: adapter, output, weights: 'adapter' });
  const names = { prefix: 'transformer.', parts: ['h'] };
  expect((await readAdapter(output, { names, layout })).tensors).toEqual(
    new Map([...tensors].sort(([a], [b]) => (a < b ? -1 : 1))),
  );
  await sameMatrices(output, adapter);
  const [untouched, adapted] = [await matricesOf(base), await matricesOf(output)];
  const name = 'transformer.h.0.attn.c_attn.weight';
  expect(largestDifference(untouched.get(name)!, adapted.get(name)!)).toBeGreaterThan(0.01);
});

describe('in a run', () => {
  const text = (
    model: string,
  ) => `{model: ${JSON.stringify(model)}, output: ${JSON.stringify(join(cwd, 'run'))},
    data: {train: ${JSON.stringify(join(cwd, 'texts.txt'))}, minWords: 1}, tuning: {type: lora, rank: 2, alpha: 4},
    stages: {
      mntp: {objective: mntp, maxSteps: 2, batchTexts: 4, maxTokens: 32, learningRate: 1e-2},
      simcse: {objective: simcse, maxSteps: 2, batchTexts: 4, maxTokens: 32, learningRate: 1e-2,
        tuning: {type: lora, rank: 3, alpha: 3, targetModules: [q_proj]}}},
    evaluate: {tasks: [${JSON.stringify(join(cwd, 'pairs.tsv'))}], everySteps: 1},
    export: {weights: adapter, dimensions: 5}, train: {threads: 1}}`;
  const configOf = (overrides: readonly string[] = [], model = goldenModel()): RunConfig =>
    parseConfig(text(model), { file: 'run.yaml', overrides: [...overrides], schema: runSchema }).config;
  const quiet = { update: () => undefined, message: () => undefined, end: () => undefined };

  it('two stages become one adapter, and the vectors are as short as asked', async () => {
    await writeFile(join(cwd, 'texts.txt'), `${texts.join('\n')}\nthe ox\nthe other cat\n`);
    await writeFile(
      join(cwd, 'pairs.tsv'),
      'score\tsentence1\tsentence2\n5\ta cat\tthe cat\n1\tox\ta mat\n3\ta\tat\n',
    );
    const { output } = configOf();
    await train(configOf(), { progress: quiet });
    const folder = join(output, 'embedder');
    expect(await readdir(folder)).not.toContain('model.safetensors');
    await sameMatrices(join(output, 'best'), folder);
    const last = join(cwd, 'last');
    await exportEmbedder({ model: join(output, 'last'), output: last, weights: 'adapter' });
    expect(await readFile(join(last, 'adapter_config.json'), 'utf8')).toContain('"r": 5');
    await sameMatrices(join(output, 'last'), last);
    const embedder = await Embedder.open(folder);
    expect((await embedder.encode('a cat')).dimensions).toBe(5);
    await embedder.dispose();
    // Exported again, merged: the same model.
    await exportEmbedder({ model: join(output, 'best'), output: join(cwd, 'merged'), dimensions: 5 });
    expect(largestDifference(await vectorsOf(folder), await vectorsOf(join(cwd, 'merged')))).toBeLessThan(
      1e-6,
    );
  });

  it.each([
    [['tuning={type: full}'], /export\.weights.*merged, as full tuning and BitFit train the weights/],
    [['stages.mntp.tuning={type: bitfit}'], /export\.weights.*merged, as full tuning and BitFit/],
    [['export.dimensions=0'], /export\.dimensions/],
  ])('%s is refused at the door', (overrides, message) => {
    expect(() => configOf(overrides)).toThrow(message);
  });

  it('what only the decoder tells is refused before the first step', async () => {
    const elsewhere = `output=${join(cwd, 'none')}`;
    const gguf = configOf([elsewhere], join(golden, 'gguf/llama.gguf'));
    await expect(train(gguf, { progress: quiet })).rejects.toThrow(/its base is a GGUF file/);
    await expect(train(configOf(['export.dimensions=25', elsewhere]), { progress: quiet })).rejects.toThrow(
      'export.dimensions: unusable number of dimensions: got 25, expected 1 to 24',
    );
  });
});

describe('no adapter', () => {
  const refused = (model: string) =>
    expect(exportEmbedder({ model, output: join(cwd, 'no'), weights: 'adapter' })).rejects;

  it('where nothing was trained, or all is merged', async () => {
    await refused(goldenModel()).toThrow(/no adapter was trained, or it is merged already.*merged weights/);
    await exportEmbedder({ model: [goldenModel(), ...chain].join(' + '), output: join(cwd, 'whole') });
    await refused(join(cwd, 'whole')).toThrow(/no adapter was trained/);
    expect(await exists(join(cwd, 'no'))).toBe(false);
  });
});
