import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { ADDED_ROWS, addedRows, decoderWithTokens } from '../../src/models/added-tokens.js';
import type { Decoder } from '../../src/models/decoder.js';
import { valuesOf } from '../../src/models/resident.js';
import { openDecoder } from '../../src/models/weights/index.js';
import type { TuningConfig } from '../../src/models/schema.js';
import { exportFolder } from '../../src/export/folder.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { tokenNames } from '../../src/pooling/special-tokens.js';
import { baseReference, saveTrained } from '../../src/pooling/trained-folder.js';
import { stageFactory } from '../../src/training/stage.js';
import type { StageModel } from '../../src/training/stage-options.js';
import { MemoryEstimator } from '../../src/training/memory/estimate.js';
import { tuningOf, type StageConfig } from '../../src/training/schema.js';
import type { FinishedStage, StageRunner } from '../../src/training/stage-runner.js';
import { Embedder } from '../../src/embedder/embedder.js';
import { encodeWith, largestDifference, temporaryFolders } from '../export/models.js';
import {
  bareStage,
  FULL,
  goldenFolder,
  lora,
  pooling,
  relativeDifference,
  SENTENCES,
  tinyDecoder,
  tinyStage,
  type Variant,
} from './tiny.js';

beforeAll(() => tf.setBackend('cpu'));

const temporary = temporaryFolders();
const TABLE = 'model.embed_tokens.weight';
const NONE: TuningConfig = { type: 'none' };
const special = pooling('specialTokens', { tokens: 3, aggregate: 'mean' });
const simcse = bareStage({ learningRate: 0.01, attentionDropout: 0.2 });

/** The stages of a run, made as a run makes them; `saved` gets what a stage saves. */
function runOf(
  decoder: Decoder,
  tuning: TuningConfig,
): {
  readonly create: (
    name: string,
    stage: StageConfig,
    previous?: readonly FinishedStage[],
  ) => Promise<StageRunner>;
  readonly saved: StageModel[];
} {
  const saved: StageModel[] = [];
  const factory = stageFactory({
    decoder,
    recipe: { attention: 'bidirectional', window: 'keep', pooling: special, maxTokens: 64 },
    tuning,
    seed: 7,
    threads: 1,
    data: { sentences: SENTENCES, documents: () => lines() },
    save: (_folder, model) => {
      saved.push(model);
      return Promise.resolve();
    },
  });
  return { create: (name, stage, previous = []) => factory({ name, stage, previous }), saved };
}

// eslint-disable-next-line @typescript-eslint/require-await
async function* lines(): AsyncIterable<string> {
  for (const sentence of SENTENCES) yield* [sentence, ''];
}

const finishedOf = (name: string, stage: StageConfig, runner: StageRunner): FinishedStage => ({
  name,
  stage,
  parameters: structuredClone(new Map(runner.state().parameters)),
});

describe('what is trained', () => {
  it.each([
    ['LoRA', 'tied', lora()],
    ['LoRA, an untied head', 'base', lora()],
    ['biases', 'bias', { type: 'bitfit' }],
    ['nothing of the decoder', 'base', NONE],
  ] as const)('%s: the new rows, and no other row of the table', async (_, variant: Variant, tuning) => {
    const bare = await tinyDecoder(variant);
    const table = valuesOf(bare.weights.get(TABLE)!).slice();
    const { create, saved } = runOf(bare, tuning);
    const runner = await create('simcse', simcse);
    const start = runner.state().parameters.get(ADDED_ROWS)!.slice();
    const { trainableParameters, parameters, flopsPerToken } = await runner.describe();
    const before = (await runner.encode(SENTENCES)).data;
    const losses = [];
    for (let step = 0; step < 8; step++) losses.push((await runner.step(step)).loss);
    expect(losses.every(Number.isFinite)).toBe(true);
    await runner.save('');
    const { decoder } = saved[0]!;
    const trained = addedRows(decoder);
    expect(start.length).toBe(3 * 24);
    for (let row = 0; row < 3; row++)
      expect(
        relativeDifference(
          trained.subarray(row * 24, row * 24 + 24),
          start.subarray(row * 24, row * 24 + 24),
        ),
      ).toBeGreaterThan(0.01);
    expect((decoder.weights.get(TABLE) as Float32Array).subarray(0, table.length)).toEqual(table);
    expect(relativeDifference((await runner.encode(SENTENCES)).data, before)).toBeGreaterThan(0.01);
    // Counted once, in the table.
    const own = [...runner.state().parameters.values()].reduce((sum, { length }) => sum + length, 0);
    expect(trainableParameters).toBe(own);
    const all = [...decoder.weights.values()].reduce((sum, { length }) => sum + length, 0);
    expect(parameters).toBe(all + (tuning.type === 'lora' ? own - 72 : 0));
    expect(flopsPerToken).toBeGreaterThan(3 * 2 * 24 * 24);
    await runner.dispose();
  });

  it('full tuning trains the rows with their table', async () => {
    const { create } = runOf(await tinyDecoder('tied'), FULL);
    const runner = await create('simcse', simcse);
    const { parameters } = runner.state();
    expect(parameters.has(ADDED_ROWS)).toBe(false);
    const rows = parameters.get(TABLE)!.subarray(-72);
    const start = rows.slice();
    await runner.step(0);
    expect(relativeDifference(rows, start)).toBeGreaterThan(1e-3);
    await runner.dispose();
  });

  it('is counted in the memory estimate, with the backward pass that it needs', async () => {
    const decoder = decoderWithTokens(await tinyDecoder(), tokenNames(3), {});
    const recipe = { attention: 'bidirectional', window: 'keep', maxTokens: 32 } as const;
    const parts = (config: typeof special, tuning: TuningConfig) =>
      new MemoryEstimator({
        decoder,
        tuning,
        stage: simcse,
        recipe: { ...recipe, pooling: config },
        lengths: [10],
        threads: 1,
      }).parts({ policy: 'all', copies: 1 });
    const [mean, rows] = [parts(pooling('mean'), lora()), parts(special, lora())];
    expect(rows.trained - mean.trained).toBe(3 * 4 * 72);
    const [frozen, through] = [parts(pooling('mean'), NONE), parts(special, NONE)];
    expect(through.trained).toBe(3 * 4 * 72);
    expect(through.kept).toBeGreaterThan(2 * frozen.kept);
  });
});

describe('a run', () => {
  it('that is resumed goes on bit for bit', async () => {
    const straight = await runOf(await tinyDecoder('tied'), lora({ dropout: 0.1 })).create('simcse', simcse);
    for (const step of [0, 1]) await straight.step(step);
    const state = structuredClone(straight.state());
    for (const step of [2, 3]) await straight.step(step);
    const resumed = await runOf(await tinyDecoder('tied'), lora({ dropout: 0.1 })).create('simcse', simcse);
    resumed.restore(state);
    for (const step of [2, 3]) await resumed.step(step);
    expect(resumed.state()).toEqual(straight.state());
    expect(await resumed.encode(SENTENCES)).toEqual(await straight.encode(SENTENCES));
    await straight.dispose();
    await resumed.dispose();
  });

  it('hands the rows from stage to stage, over stages that embed nothing and over a resume', async () => {
    const mntp = bareStage({ objective: 'mntp', maskRatio: 0.4, learningRate: 0.01 });
    const first = runOf(await tinyDecoder('tied'), lora());
    const one = await first.create('one', simcse);
    await one.step(0);
    const done = [finishedOf('one', simcse, one)];
    await one.dispose();
    const two = await first.create('two', mntp, done);
    // Plain chunks, no special token in them and none trained.
    expect(two.state().parameters.has(ADDED_ROWS)).toBe(false);
    expect((await two.describe()).firstBatch.join()).not.toContain('<|emb');
    await two.step(0);
    done.push(finishedOf('two', mntp, two));
    await two.save('');
    expect(addedRows(first.saved[0]!.decoder)).toEqual(done[0]!.parameters.get(ADDED_ROWS));
    await two.dispose();
    const three = await first.create('three', simcse, done);
    expect(three.state().parameters.get(ADDED_ROWS)).toEqual(done[0]!.parameters.get(ADDED_ROWS));
    await three.step(0);
    const again = await runOf(await tinyDecoder('tied'), lora()).create('three', simcse, done);
    await again.step(0);
    expect(again.state()).toEqual(three.state());
    await three.dispose();
    await again.dispose();
  });

  it('goes on from weights that an earlier stage tuned, rows of new tokens among them', async () => {
    const full = bareStage({ learningRate: 0.01, tuning: FULL });
    const first = runOf(await tinyDecoder('tied'), lora());
    const one = await first.create('one', full);
    await one.step(0);
    const done = [finishedOf('one', full, one)];
    const embedded = (await one.encode(SENTENCES)).data;
    await one.dispose();
    const two = await runOf(await tinyDecoder('tied'), lora()).create('two', simcse, done);
    expect((await two.encode(SENTENCES)).data).toEqual(embedded);
    await two.dispose();
  });

  it('has one number of tokens', async () => {
    const { create } = runOf(await tinyDecoder(), lora());
    const first = await create('one', simcse);
    const done = [finishedOf('one', simcse, first)];
    await first.dispose();
    const other = bareStage({ pooling: { type: 'specialTokens', tokens: 2 } });
    await expect(create('two', other, done)).rejects.toThrow(/different numbers of special tokens.*3 and 2/);
  });
});

describe('a saved model is the trained one', () => {
  it.each([
    ['adapters', lora()],
    ['no adapter', NONE],
    ['merged weights', FULL],
  ] as const)('%s, then its ONNX folder', async (kind, tuning) => {
    const { create, saved } = runOf(await tinyDecoder('tied'), tuning);
    const runner = await create('simcse', simcse);
    for (const step of [0, 1, 2]) await runner.step(step);
    const { data: expected } = await runner.encode(SENTENCES);
    await runner.save('');
    const [model] = saved;
    const folder = await temporary();
    await saveTrained(folder, {
      ...model!,
      base: await baseReference(goldenFolder('tied')),
      previous: model!.previous.map(({ name, stage, parameters }) => ({
        name,
        tuning: tuningOf(stage, tuning),
        parameters,
      })),
    });
    await runner.dispose();
    const loaded = await loadEmbeddingModel(folder);
    expect(addedRows(loaded.decoder)).toEqual(addedRows(model!.decoder));
    expect(relativeDifference((await encodeWith(loaded, SENTENCES)).data, expected)).toBeLessThan(1e-5);
    // A pooling without them needs none of them.
    expect((await loadEmbeddingModel(folder, { pooling: 'mean' })).recipe.pooling.type).toBe('mean');
    if (kind === 'merged weights') {
      const source = await openDecoder(folder);
      expect(source.config['vocab_size']).toBe(75);
      await source.weights.close();
    }
    const output = join(await temporary(), 'embedder');
    const { files } = await exportFolder(loaded, output);
    expect(files.map(({ path }) => path)).toEqual(['onnx/model.onnx']);
    const embedder = await Embedder.open(output);
    expect(largestDifference((await embedder.encode(SENTENCES)).data, expected)).toBeLessThan(1e-5);
    await embedder.dispose();
    const weights = await loadEmbeddingModel(output);
    expect(weights.decoder.config.vocab_size).toBe(75);
    expect(largestDifference((await encodeWith(weights, SENTENCES)).data, expected)).toBeLessThan(1e-5);
  });

  it('is where another run goes on', async () => {
    const rows = Float32Array.from({ length: 72 }, (_, i) => i / 72);
    const factory = stageFactory({
      decoder: await tinyDecoder(),
      recipe: { attention: 'bidirectional', window: 'keep', pooling: special, maxTokens: 64 },
      tuning: lora(),
      seed: 7,
      threads: 1,
      data: { sentences: SENTENCES, documents: () => lines() },
      storedPooling: (shapes) => {
        const asked = shapes.get(ADDED_ROWS);
        if (asked !== undefined) expect(asked).toEqual([3, 24]);
        return Promise.resolve(new Map(asked === undefined ? [] : [[ADDED_ROWS, rows]]));
      },
      save: () => Promise.resolve(),
    });
    const runner = await factory({ name: 'simcse', stage: simcse, previous: [] });
    expect(runner.state().parameters.get(ADDED_ROWS)).toEqual(rows);
    await runner.dispose();
  });

  it('cannot be asked of a model that has no such tokens', async () => {
    await expect(loadEmbeddingModel(goldenFolder('base'), { pooling: 'specialTokens' })).rejects.toThrow(
      /specialTokens pooling is trained, and this model has none/,
    );
  });
});

describe('memory', () => {
  it('stays where it is over many steps', async () => {
    const pools = new Set<TensorPool>();
    const acquire = vi.spyOn(TensorPool.prototype, 'acquire');
    try {
      const stage = await tinyStage({
        decoder: await tinyDecoder('tied'),
        stage: bareStage({ maxSteps: 200, batchTexts: SENTENCES.length, attentionDropout: 0.3 }),
        tuning: NONE,
        pooling: special,
      });
      for (let step = 0; step < 20; step++) await stage.step(step);
      for (const pool of acquire.mock.contexts) pools.add(pool as TensorPool);
      acquire.mockRestore();
      const [pool] = pools;
      const before = { bytes: pool!.bytes, tensors: tf.memory().numTensors };
      for (let step = 20; step < 120; step++) await stage.step(step);
      expect(pools.size).toBe(1);
      expect(pool!.bytes).toBe(before.bytes);
      expect(tf.memory().numTensors).toBe(before.tensors);
      await stage.dispose();
    } finally {
      acquire.mockRestore();
    }
  });
});
