import { describe, expect, it } from 'vitest';
import { savePolicies } from '../../src/compiler/split.js';
import type { StageRunner } from '../../src/training/stage-runner.js';
import {
  bareStage,
  FULL,
  lora,
  pooling,
  randomise,
  relativeDifference,
  tinyDecoder,
  tinyStage,
} from './tiny.js';

/** So small that a step does not move a parameter by a bit that matters. */
const NO_STEP = 1e-30;

/** Attention and adapter dropout on: the masks are a function of the step alone, so the loss of one step is a function of the parameters. */
const dropout = { attentionDropout: 0.3, learningRate: NO_STEP };

async function gradientOf(stage: StageRunner, step: number): Promise<Map<string, Float32Array>> {
  await stage.step(step);
  return new Map([...stage.state().optimizer.m].map(([name, values]) => [name, values.slice()]));
}

/** (f(p + h d) - f(p - h d)) / 2h */
async function slope(
  stage: StageRunner,
  { step, direction, h }: { step: number; direction: ReadonlyMap<string, Float32Array>; h: number },
): Promise<number> {
  const { parameters } = stage.state();
  const start = new Map([...parameters].map(([name, values]) => [name, values.slice()]));
  const lossAt = async (distance: number): Promise<number> => {
    for (const [name, values] of parameters) {
      const [from, along] = [start.get(name)!, direction.get(name)];
      for (let i = 0; i < values.length; i++) values[i] = from[i]! + distance * (along?.[i] ?? 0);
    }
    return (await stage.step(step)).loss;
  };
  const difference = (await lossAt(h)) - (await lossAt(-h));
  for (const [name, values] of parameters) values.set(start.get(name)!);
  return difference / (2 * h);
}

const cases = [
  ['SimCSE, LoRA', { objective: 'simcse', scale: 3 }, lora({ dropout: 0.2 }), 'mean'],
  [
    'SimCSE, LoRA and latent attention',
    { objective: 'simcse', scale: 3 },
    lora({ dropout: 0.2 }),
    'latentAttention',
  ],
  [
    'SimCSE over the average of three layers, LoRA',
    { objective: 'simcse', scale: 3 },
    lora({ dropout: 0.2 }),
    'mean',
    { layer: [0, 1, -1] },
  ],
  [
    'SimCSE over a learned mix of layers and a dense head, all weights',
    { objective: 'simcse', scale: 3 },
    FULL,
    'mean',
    { layer: { learned: 'all' }, head: { type: 'dense', dimensions: 7, activation: 'tanh' } },
  ],
  [
    'SimCSE, layers below the last, truncated, LoRA',
    { objective: 'simcse', scale: 3 },
    lora({ dropout: 0.2 }),
    'last',
    { layer: [1, 0], head: { type: 'truncate', dimensions: 9 } },
  ],
  [
    'SimCSE, a tuner over two layers of a frozen decoder',
    { objective: 'simcse', scale: 3 },
    { type: 'none' },
    'lmort',
    { layer: [1, -1], blocks: 2, heads: 2 },
  ],
  [
    'SimCSE, a learned mix of layers and a dense head, nothing else trained',
    { objective: 'simcse', scale: 3 },
    { type: 'none' },
    'mean',
    { layer: { learned: 'all' }, head: { type: 'dense', dimensions: 12 } },
  ],
  [
    'SimCSE over special tokens and LoRA, tied',
    { objective: 'simcse', scale: 3 },
    lora({ dropout: 0.2 }),
    'specialTokens',
    { aggregate: 'mean' },
  ],
  [
    'SimCSE over the last special token, nothing else trained',
    { objective: 'simcse', scale: 3 },
    { type: 'none' },
    'specialTokens',
  ],
  ['SimCSE, all weights, tied', { objective: 'simcse', scale: 3 }, FULL, 'weightedMean'],
  [
    'SimCSE with pooled padding',
    { objective: 'simcse', scale: 3, compat: 'llm2vec' },
    lora({ dropout: 0.2 }),
    'mean',
  ],
  ['MNTP, LoRA', { objective: 'mntp', maskRatio: 0.4 }, lora({ dropout: 0.2 }), 'mean'],
  ['MNTP, all weights, tied', { objective: 'mntp', maskRatio: 0.4 }, FULL, 'mean'],
  ['causal LM, two batches in a step', { objective: 'causalLm', accumulate: 2 }, FULL, 'mean'],
] as const;

describe('the gradient of a stage with dropout is the slope of its loss', () => {
  it.each(cases)('%s', async (_, options, tuning, type, more?: Record<string, unknown>) => {
    const decoder = await tinyDecoder('tied');
    const stage = await tinyStage({
      decoder,
      stage: bareStage({ ...options, ...dropout, batchTexts: 3 }),
      tuning,
      attention: options.objective === 'causalLm' ? 'causal' : 'bidirectional',
      pooling: pooling(type, more),
    });
    const added = [...stage.state().parameters].filter(([name]) => !decoder.weights.has(name));
    randomise(
      added.map(([, values]) => values),
      12,
    );
    const step = 1;
    const gradient = await gradientOf(stage, step);
    const norm = Math.sqrt(
      [...gradient.values()].reduce((sum, g) => sum + g.reduce((a, b) => a + b * b, 0), 0),
    );
    expect(norm).toBeGreaterThan(1e-2);
    const uphill = new Map([...gradient].map(([name, g]) => [name, g.map((value) => value / norm)]));
    // A steep loss is a curved one: it is changed by a few hundredths at most.
    const h = Math.min(5e-3, 0.02 / norm);
    expect((await slope(stage, { step, direction: uphill, h })) / norm).toBeCloseTo(1, 2);
    // The steepest parameter of a few arrays, one by one.
    const steepest = [...gradient]
      .map(([name, g]) => ({
        name,
        g,
        at: g.reduce((best, value, i) => (Math.abs(value) > Math.abs(g[best]!) ? i : best), 0),
      }))
      .sort((a, b) => Math.abs(b.g[b.at]!) - Math.abs(a.g[a.at]!))
      .slice(0, 4);
    for (const { name, g, at } of steepest) {
      const direction = new Map([[name, g.map((_, i) => (i === at ? 1 : 0))]]);
      const measured = await slope(stage, { step, direction, h: 5e-3 });
      expect(
        Math.abs(measured - g[at]!) / Math.abs(g[at]!),
        `${name}[${at}]: ${measured}, ${g[at]}`,
      ).toBeLessThan(0.02);
    }
    await stage.dispose();
  });
});

describe('save policies', () => {
  it.each(cases)(
    'all three give the same loss and gradients: %s',
    async (_, options, tuning, type, more?: Record<string, unknown>) => {
      const outcomes = [];
      for (const savePolicy of savePolicies) {
        const decoder = await tinyDecoder('tied');
        const stage = await tinyStage({
          decoder,
          stage: bareStage({ ...options, ...dropout, savePolicy, batchTexts: 3 }),
          tuning,
          pooling: pooling(type, more),
        });
        const added = [...stage.state().parameters].filter(([name]) => !decoder.weights.has(name));
        randomise(
          added.map(([, values]) => values),
          12,
        );
        expect((await stage.describe()).savePolicy).toBe(savePolicy);
        const { loss } = await stage.step(0);
        outcomes.push({ loss, gradients: structuredClone(stage.state().optimizer.m) });
        await stage.dispose();
      }
      const [first, ...others] = outcomes;
      for (const { loss, gradients } of others) {
        expect(loss).toBeCloseTo(first!.loss, 5);
        for (const [name, gradient] of gradients) {
          const expected = first!.gradients.get(name)!;
          if (expected.some((value) => value !== 0))
            expect(relativeDifference(gradient, expected), name).toBeLessThan(1e-5);
        }
      }
    },
  );
});
