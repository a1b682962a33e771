import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { floats } from '../../src/compiler/program.js';
import { listedExamples } from '../../src/data/examples.js';
import { packTexts } from '../../src/data/packing.js';
import { GradientSink } from '../../src/models/gradient-sink.js';
import { readCheckpoint, writeCheckpoint } from '../../src/training/checkpoint.js';
import type { TrainingExamples } from '../../src/training/contrastive-data.js';
import { LossScale } from '../../src/training/loss-scale.js';
import type { Objective } from '../../src/training/objectives/objective.js';
import type { StageRunner, StepResult, TrainingState } from '../../src/training/stage-runner.js';
import { UserError } from '../../src/shared/errors.js';
import { randomStream } from '../../src/shared/random.js';
import {
  bareStage,
  FULL,
  lora,
  pooling,
  randomise,
  randomTexts,
  relativeDifference,
  SENTENCES,
  tinyDecoder,
  tinyStage,
} from './tiny.js';

beforeAll(() => tf.setBackend('cpu'));

const pairs: TrainingExamples = {
  set: listedExamples(
    'set',
    SENTENCES.map((query, i) => ({
      form: 'ranked',
      query,
      positive: SENTENCES[(i + 1) % SENTENCES.length]!,
      negatives: [],
    })),
  ),
  weight: SENTENCES.length,
  prompts: {},
};

const copy = (state: TrainingState): TrainingState => structuredClone(state);
const flat = (arrays: ReadonlyMap<string, Float32Array>): number[] =>
  [...arrays.keys()].sort().flatMap((name) => [...arrays.get(name)!]);
/** Beta1 is 0 in `bareStage`. */
const gradients = (stage: StageRunner): number[] => flat(stage.state().optimizer.m);
const withScale = (state: TrainingState, scale: number): TrainingState => ({
  ...state,
  lossScale: { scale, goodSteps: 0 },
});

async function half(
  options: Partial<Parameters<typeof tinyStage>[0]> = {},
  more: Record<string, unknown> = {},
): Promise<StageRunner> {
  return tinyStage({
    decoder: await tinyDecoder(),
    stage: bareStage({ scale: 4, ...more }),
    computePrecision: 'float16',
    ...options,
  });
}

describe('LossScale', () => {
  it('halves at once and doubles after 2000 good steps in a row, as torch.amp.GradScaler', () => {
    const scale = new LossScale();
    expect(scale.state()).toEqual({ scale: 65536, goodSteps: 0 });
    for (let step = 0; step < 1999; step++) scale.update(true);
    expect(scale.state()).toEqual({ scale: 65536, goodSteps: 1999 });
    scale.update(false);
    expect(scale.state()).toEqual({ scale: 32768, goodSteps: 0 });
    for (let step = 0; step < 2000; step++) scale.update(true);
    expect(scale.state()).toEqual({ scale: 65536, goodSteps: 0 });
  });

  it('stops a run whose gradients leave float16 at a scale of 1', () => {
    const scale = new LossScale();
    for (let step = 0; step < 16; step++) scale.update(false);
    expect(scale.state().scale).toBe(1);
    expect(() => scale.update(false)).toThrow(
      'train.precision: gradients leave float16 at a loss scale of 1, so the run was stopped: got float16, expected bfloat16 or float32',
    );
  });
});

describe('GradientSink.times', () => {
  it('adds to the same sums, and a power of two costs no bit', () => {
    const random = randomStream(3);
    const values = Float32Array.from({ length: 50 }, () => random.normal());
    const sink = new GradientSink();
    sink.add('a', values);
    sink.times(1 / 4096).add(
      'a',
      values.map((value) => 4096 * value),
    );
    expect(sink.gradients.get('a')).toEqual(values.map((value) => 2 * value));
    const rows = { length: 6, width: 2, scale: 3 };
    sink
      .times(0.5)
      .addRows('b', Int32Array.of(2, 0, 2), { ...rows, values: Float32Array.of(1, 2, 3, 4, 5, 6) });
    expect(sink.gradients.get('b')).toEqual(Float32Array.of(4.5, 6, 0, 0, 9, 12));
  });
});

describe('a stage in float16', () => {
  it.each([
    ['adapters', lora(), {}],
    ['all weights', FULL, {}],
    ['adapters and a pooling, in chunks', lora(), { objective: 'contrastive', chunkTexts: 5 }],
  ] as const)('has the gradients of float32, whatever the scale: %s', async (_, tuning, more) => {
    const given =
      'objective' in more
        ? { tuning, exampleSets: new Map([['set', pairs]]), pooling: pooling('latentAttention') }
        : { tuning };
    const reference = await tinyStage({
      decoder: await tinyDecoder(),
      stage: bareStage({ scale: 4, ...more }),
      ...given,
    });
    const start = copy(reference.state());
    randomise(start.parameters.values(), 5, 0.2);
    reference.restore(start);
    const expected = await reference.step(0);
    const seen = [];
    for (const scale of [1, 64, 4096]) {
      const stage = await half(given, more);
      stage.restore(withScale(start, scale));
      const result = await stage.step(0);
      expect(result.lossScale).toBe(scale);
      expect(result.skipped).toBeUndefined();
      expect(result.loss).not.toBe(expected.loss);
      expect(Math.abs(result.loss - expected.loss)).toBeLessThan(2e-2);
      expect(relativeDifference(gradients(stage), gradients(reference))).toBeLessThan(3e-2);
      seen.push(gradients(stage));
      await stage.dispose();
    }
    expect(relativeDifference(seen[0]!, seen[2]!)).toBeLessThan(1e-2);
    await reference.dispose();
  });

  it('keeps gradients that float16 has no numbers for, by its scale', async () => {
    const texts = randomTexts([9, 5], 4);
    /** Hidden gradients of 1e-8: float16 ends at 6e-8. */
    const tiny: Objective = {
      blocks: 2,
      batch: () => ({ batches: packTexts(texts, { maxTokens: 32 }), tokens: 14 }),
      loss: (pass) => {
        const random = randomStream(8);
        const hiddenGradients = pass.tiles.map(({ hidden }) => {
          const gradient = new TensorPool().acquire(hidden.dims);
          floats(gradient).forEach((_, i, all) => (all[i] = 1e-8 * random.normal()));
          return gradient;
        });
        return Promise.resolve({ loss: 1, hiddenGradients });
      },
      decode: () => [],
      dispose: () => Promise.resolve(),
    };
    const run = async (
      options: Partial<Parameters<typeof tinyStage>[0]>,
      scale: number,
    ): Promise<number[]> => {
      const stage = await half({ ...options, createObjective: () => tiny });
      const start = copy(stage.state());
      randomise(start.parameters.values(), 5, 0.2);
      stage.restore(withScale(start, scale));
      await stage.step(0);
      const made = gradients(stage);
      await stage.dispose();
      return made;
    };
    const expected = await run({ computePrecision: 'float32' }, 1);
    expect(Math.max(...expected)).toBeGreaterThan(0);
    expect(relativeDifference(await run({}, 65536), expected)).toBeLessThan(3e-2);
    expect(relativeDifference(await run({}, 1), expected)).toBeGreaterThan(0.5);
  });

  it('leaves everything as it was at a step that overflows, halves the scale, and goes on', async () => {
    const stage = await half();
    randomise(stage.state().parameters.values(), 5, 0.2);
    stage.restore(withScale(copy(stage.state()), 2 ** 16));
    await stage.step(0);
    const before = copy(stage.state());
    stage.restore(withScale(before, 2 ** 60));
    const result = await stage.step(1);
    expect(result).toMatchObject({ lossScale: 2 ** 60, skipped: true });
    expect(Number.isFinite(result.loss)).toBe(true);
    expect(Number.isFinite(result.gradientNorm)).toBe(false);
    const after = copy(stage.state());
    expect(after.lossScale).toEqual({ scale: 2 ** 59, goodSteps: 0 });
    expect(after.parameters).toEqual(before.parameters);
    expect(after.optimizer).toEqual(before.optimizer);
    let next: StepResult = result;
    let skipped = 0;
    for (; next.skipped === true && skipped < 60; skipped++) next = await stage.step(1);
    expect(next.skipped).toBeUndefined();
    expect(stage.state().parameters).not.toEqual(before.parameters);
    expect(stage.state().lossScale).toEqual({ scale: next.lossScale, goodSteps: 1 });
    await stage.dispose();
  });

  it.each([
    [1e6, 'model.layers.0.mlp.down_proj.weight has numbers beyond 65,504, where float16 ends'],
    [5e4, 'the loss of stage stage became NaN, so the run was stopped'],
  ])('says in one sentence that weights times %d are nothing for it', async (factor, sentence) => {
    const run = async (computePrecision: 'float16' | 'bfloat16'): Promise<StepResult> => {
      const decoder = await tinyDecoder();
      const values = decoder.weights.get('model.layers.0.mlp.down_proj.weight') as Float32Array;
      for (let i = 0; i < values.length; i++) values[i] = values[i]! * factor;
      const stage = await half({ decoder, computePrecision });
      return stage.step(0).finally(() => stage.dispose());
    };
    await expect(run('float16')).rejects.toThrow(UserError);
    await expect(run('float16')).rejects.toThrow(sentence);
    expect(Number.isFinite((await run('bfloat16')).loss)).toBe(true);
  });

  it('goes on from a checkpoint bit for bit, steps that overflowed before and behind it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lmvec-loss-scale-'));
    const options = { attentionDropout: 0.2, betas: [0.9, 0.999] };
    const stage = await half({ tuning: lora({ dropout: 0.1 }) }, options);
    // One step too high, so that some steps are left out first.
    stage.restore(withScale(copy(stage.state()), 2 ** 30));
    const results: StepResult[] = [];
    const checkpoints: string[] = [];
    for (let step = 0; step < 30; step++) {
      results.push(await stage.step(step));
      if (![2, 25].includes(step)) continue;
      const state = stage.state();
      checkpoints.push(
        await writeCheckpoint(folder, { stage: 'a', step: step + 1, seed: 7, best: null, state }),
      );
    }
    const skipped = results.filter((result) => result.skipped === true).length;
    expect(skipped).toBeGreaterThan(4);
    expect(skipped).toBeLessThan(25);
    for (const path of checkpoints) {
      const resumed = await half({ tuning: lora({ dropout: 0.1 }) }, options);
      const checkpoint = await readCheckpoint(path);
      const { step: done } = checkpoint;
      resumed.restore(checkpoint.takeState());
      for (let step = done; step < 30; step++) expect(await resumed.step(step)).toEqual(results[step]);
      expect(copy(resumed.state())).toEqual(copy(stage.state()));
      await resumed.dispose();
    }
    await stage.dispose();
  });

  it('embeds in float16 too', async () => {
    const stage = await half();
    const reference = await tinyStage({ decoder: await tinyDecoder(), stage: bareStage({}) });
    const [own, expected] = [await stage.encode(SENTENCES), await reference.encode(SENTENCES)];
    expect(own.data).not.toEqual(expected.data);
    expect(relativeDifference(own.data, expected.data)).toBeLessThan(5e-3);
    await stage.dispose();
    await reference.dispose();
  });

  it('holds no more memory from step to step', async () => {
    const pools = new Set<TensorPool>();
    const acquire = vi.spyOn(TensorPool.prototype, 'acquire');
    try {
      const stage = await half(
        { tuning: lora({ dropout: 0.1 }) },
        { batchTexts: SENTENCES.length, attentionDropout: 0.3, maxSteps: 200 },
      );
      for (let step = 0; step < 20; step++) await stage.step(step);
      for (const pool of acquire.mock.contexts) pools.add(pool as TensorPool);
      acquire.mockRestore();
      const [pool] = pools;
      const before = { bytes: pool!.bytes, tensors: tf.memory().numTensors, rss: process.memoryUsage().rss };
      for (let step = 20; step < 150; step++) {
        if (step % 20 === 0) stage.restore(withScale(copy(stage.state()), 2 ** 60));
        if (step % 20 === 2) stage.restore(withScale(copy(stage.state()), 2 ** 16));
        await stage.step(step);
      }
      expect(pools.size).toBe(1);
      expect(pool!.bytes).toBe(before.bytes);
      expect(tf.memory().numTensors).toBe(before.tensors);
      expect(process.memoryUsage().rss - before.rss).toBeLessThan(100e6);
      await stage.dispose();
    } finally {
      acquire.mockRestore();
    }
  });
});

it('bfloat16 has no loss scale', async () => {
  const stage = await half({ computePrecision: 'bfloat16' });
  const result = await stage.step(0);
  expect(result.lossScale).toBeUndefined();
  expect(stage.state().lossScale).toBeUndefined();
  await stage.dispose();
});
