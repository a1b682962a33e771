import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { engine } from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { onnxRuntime } from '../src/compiler/program.js';
import { parseConfig } from '../src/config/load.js';
import { exampleSetSchema } from '../src/data/example-schema.js';
import { Embedder } from '../src/embedder/embedder.js';
import { exportFolder } from '../src/export/folder.js';
import { poolingSchema } from '../src/pooling/schema.js';
import { calibrate, calibrateRanges } from '../src/recipes/calibrate.js';
import { embed } from '../src/recipes/embed.js';
import { evaluate } from '../src/recipes/evaluate.js';
import { exportEmbedder } from '../src/recipes/export.js';
import { measureLayers } from '../src/recipes/layers.js';
import { mineNegatives } from '../src/recipes/mine.js';
import { openModel } from '../src/recipes/open-model.js';
import { runSchema } from '../src/recipes/schema.js';
import { resume, train } from '../src/recipes/train.js';
import { encodeWith, goldenModel, modelWith, temporaryFolders, texts } from './export/models.js';

vi.setConfig({ testTimeout: 120_000 });

const temporary = temporaryFolders();
const model = goldenModel();
const [threads, silent] = [1, { update: () => undefined, message: () => undefined, end: () => undefined }];
let [folder, input, sets] = ['', '', ''];
/** Sessions of ONNX Runtime that nobody has released. */
let open = 0;

beforeAll(async () => {
  folder = await temporary();
  [input, sets] = [join(folder, 'texts.txt'), join(folder, 'sets.tsv')];
  await writeFile(input, `${texts.join('\n')}\n`);
  const pairs = texts.map((text, i) => `${String(i)}\t${text}\t${texts[(i + 1) % texts.length] ?? ''}`);
  await writeFile(sets, `score\tsentence1\tsentence2\n${pairs.join('\n')}\n`);
  await exportEmbedder({ model, output: join(folder, 'embedder'), threads });
  await cp(join(folder, 'embedder'), join(folder, 'foreign'), { recursive: true });
  for (const name of ['lmvec.json', 'model.safetensors', 'config.json'])
    await rm(join(folder, 'foreign', name));
  const { InferenceSession } = onnxRuntime();
  const create = InferenceSession.create.bind(InferenceSession) as (
    ...words: unknown[]
  ) => ReturnType<typeof InferenceSession.create>;
  vi.spyOn(InferenceSession, 'create').mockImplementation(async (...words: unknown[]) => {
    const session = await create(...words);
    open += 1;
    const release = session.release.bind(session);
    session.release = async () => {
      open -= 1;
      await release();
    };
    return session;
  });
});

const fresh = async (name: string): Promise<string> => {
  const path = join(folder, name);
  await rm(path, { recursive: true, force: true });
  return path;
};
const tasks = { folder: 'embedded', split: 'dev', protocol: 'mteb' } as const;
const config = (output: string, rest: string) => {
  const text = `{model: ${JSON.stringify(model)}, output: ${JSON.stringify(output)}, ${rest},
    data: {train: ${JSON.stringify(input)}}, evaluate: {tasks: [${JSON.stringify(sets)}], everySteps: 1},
    export: {files: [float32]}, train: {threads: 1, checkpointEverySteps: 1}}`;
  return parseConfig(text, { file: 'x', overrides: [], schema: runSchema }).config;
};
const stage = (objective: string) =>
  `{objective: ${objective}, maxSteps: 2, batchTexts: 2, maxTokens: 16, learningRate: 1e-3}`;
const mining = (teacher: string) => async () =>
  mineNegatives({
    ...{ model: teacher, output: await fresh('mined.jsonl'), negatives: 1, range: [0, 3], seed: 0, threads },
    set: exampleSetSchema.parse({ kind: 'pairs', path: sets }),
    sampling: 'top',
  });
const pooled = (pooling: unknown) => async () =>
  encodeWith(await modelWith({ pooling: poolingSchema.parse(pooling) }));

const transformer = { heads: 2, headDimension: 4, feedForwardMultiple: 1 };
const head = { type: 'dense', dimensions: 5 };

/** All that holds tensors while it works and nothing afterwards. */
const works: Readonly<Record<string, () => Promise<unknown>>> = {
  ...Object.fromEntries(
    (
      [
        ...['first', 'mean', 'weightedMean', 'last', 'eos'].map((type) => ({ type })),
        { type: 'last', generate: 3 },
        { type: 'mean', layer: [0, -1], head },
        { type: 'mean', layer: { learned: 'all' } },
        { type: 'mean', head: { type: 'sparse', keep: 2, dimensions: 7 } },
        { type: 'lmort', layer: [1, 2], blocks: 1, ...transformer },
        { type: 'selfAttention', ...transformer },
        { type: 'latentAttention', latents: 3, ...transformer },
      ] as const
    ).map((pooling) => [`pooling ${JSON.stringify(pooling)}`, pooled(pooling)]),
  ),
  'Embedder of a prompt whose beginning is computed once': async () => {
    const embedder = await Embedder.open(model, { threads, prompt: 'the cat sat on a mat: {text}' });
    const vectors = await embedder.encode(texts);
    embedder.similarity(vectors, vectors);
    await embedder.dispose();
  },
  'Embedder that is given what it cannot embed': async () => {
    const embedder = await Embedder.open(model, { threads });
    await expect(embedder.encode(['the cat', ''])).rejects.toThrow();
    await embedder.dispose();
  },
  'openModel with a probe': async () => (await openModel({ model, threads })).close(),
  embed: async () => embed({ model, threads, input, output: await fresh('vectors.npy') }),
  evaluate: () =>
    evaluate({
      model: { model, threads },
      ...{ untouched: model, softCosine: true, bootstrap: 10, ...tasks, tasks: [sets] },
    }),
  'evaluate of an exported folder': () =>
    evaluate({ model: { model: join(folder, 'embedder'), threads }, bootstrap: 0, ...tasks, tasks: [sets] }),
  'calibrate, and the model that it makes': async () => {
    const output = await fresh('calibrated');
    await calibrate({ model, threads, texts: input, output });
    const embedder = await Embedder.open(output, { threads });
    await embedder.encode(texts);
    await embedder.dispose();
  },
  calibrateRanges: async () =>
    calibrateRanges({ model, threads, texts: input, output: await fresh('ranges.npy') }),
  measureLayers: () => measureLayers({ model, threads, sets: { ...tasks, tasks: [sets] } }),
  'mineNegatives with a decoder': mining(model),
  'mineNegatives with an ONNX embedder of another tool': async () => mining(join(folder, 'foreign'))(),
  'exportEmbedder in all formats': async () =>
    exportEmbedder({
      ...{ model, threads, output: await fresh('formats'), formats: ['float32', 'fp16', 'int8', 'q4'] },
      evaluate: { ...tasks, tasks: [sets] },
    }),
  'exportFolder that is refused': async () => {
    const generating = await modelWith({ pooling: poolingSchema.parse({ type: 'last', generate: 2 }) });
    await expect(exportFolder(generating, join(folder, 'never'))).rejects.toThrow();
  },
  'train, two stages with LoRA': async () => {
    const stages = `stages: {a: ${stage('mntp')}, b: ${stage('simcse')}}`;
    const run = config(await fresh('lora'), `tuning: {type: lora, rank: 2, alpha: 4}, ${stages}`);
    await train(run, { progress: silent });
  },
  'train of all weights, interrupted and resumed': async () => {
    const output = await fresh('full');
    const controller = new AbortController();
    const progress = { ...silent, update: () => controller.abort() };
    const run = config(output, `tuning: {type: full}, stages: {a: ${stage('simcse')}}`);
    await train(run, { progress, signal: controller.signal });
    await resume(output, { progress: silent });
  },
};

describe('what is done leaves no tensor and no session of ONNX Runtime behind', () => {
  it.each(Object.entries(works))('%s', async (_, work) => {
    // What is made once and kept for all later calls is no leak.
    await work();
    const before = { tensors: engine().memory().numTensors, open };
    await work();
    await work();
    expect({ tensors: engine().memory().numTensors, open }).toEqual(before);
  });
});
