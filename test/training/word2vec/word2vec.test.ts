import { describe, expect, it } from 'vitest';
import { loadDecoder } from '../../../src/models/decoder.js';
import { initialiseDecoder, initialiseSchema } from '../../../src/models/initialise.js';
import { stageSchema, type StageConfig } from '../../../src/training/schema.js';
import type { StageRunner } from '../../../src/training/stage-runner.js';
import { negativeSamplingStep } from '../../../src/training/word2vec/negative-sampling.js';
import { keptShares, negativeTable } from '../../../src/training/word2vec/word-statistics.js';
import { tinyStage } from '../tiny.js';

const texts = Array.from(
  { length: 40 },
  (_, i) => `the ${['dog', 'cat', 'fox'][i % 3]!} runs over the ${['hill', 'road'][i % 2]!}, and it sleeps`,
);

async function wordStage(more: Record<string, unknown> = {}): Promise<StageRunner> {
  const shape = initialiseSchema.parse({ family: 'word2vec', hidden_size: 10, minimumCount: 2 });
  const decoder = await loadDecoder(initialiseDecoder({ shape, seed: 3, texts }));
  const stage: StageConfig = stageSchema.parse({
    objective: 'word2vec',
    maxSteps: 12,
    batchTexts: 8,
    learningRate: 0.1,
    subsample: 0.05,
    ...more,
  });
  return tinyStage({ decoder, stage, sentences: texts, attention: 'causal' });
}

describe('negative sampling', () => {
  const dimensions = 7;
  const hidden = Float32Array.from({ length: dimensions }, (_, d) => Math.sin(d + 1));
  const output = Float32Array.from({ length: 4 * dimensions }, (_, i) => Math.cos(2 * i));
  const targets = Int32Array.of(2, 0, 3);
  /** The formula in float64. */
  const loss = (h: ArrayLike<number>, v: ArrayLike<number>): number =>
    [...targets].reduce((sum, row, k) => {
      let score = 0;
      for (let d = 0; d < dimensions; d++) score += h[d]! * v[row * dimensions + d]!;
      return sum + Math.log(1 + Math.exp(k === 0 ? -score : score));
    }, 0);

  it('goes down the gradient of its loss, by the hidden vector and by every output row', () => {
    const rate = 0.5;
    const after = output.slice();
    const change = new Float32Array(dimensions);
    const sum = { loss: 0, squaredGradient: 0 };
    negativeSamplingStep({ output: after, dimensions }, { hidden, targets, count: 3 }, { rate, change, sum });
    expect(sum.loss).toBeCloseTo(loss(hidden, output), 5);
    const numeric = (values: Float32Array, at: number, of: (moved: number[]) => number): number => {
      const [up, down] = [1e-5, -1e-5].map((by) => of([...values].map((x, i) => (i === at ? x + by : x))));
      return (up! - down!) / 2e-5;
    };
    for (let d = 0; d < dimensions; d++)
      expect(change[d]! / -rate).toBeCloseTo(
        numeric(hidden, d, (h) => loss(h, output)),
        4,
      );
    let squared = 0;
    for (let i = 0; i < output.length; i++) {
      const gradient = numeric(output, i, (v) => loss(hidden, v));
      squared += gradient ** 2;
      expect((after[i]! - output[i]!) / -rate).toBeCloseTo(gradient, 4);
    }
    expect(sum.squaredGradient).toBeCloseTo(squared, 4);
  });

  it('draws words by their counts to the power of 0.75', () => {
    const counts = Float64Array.of(0, 1, 16, 81);
    const drawn = [0, 0, 0, 0];
    const table = negativeTable(counts, 0.75);
    for (const word of table) drawn[word]! += 1 / table.length;
    expect(drawn[0]).toBe(0);
    [1 / 36, 8 / 36, 27 / 36].forEach((share, i) => expect(drawn[i + 1]).toBeCloseTo(share, 4));
  });

  it("keeps words by the original's formula", () => {
    const [frequent, rare] = keptShares(Float64Array.of(99, 1), 0.01);
    expect(frequent! / 2 ** 32).toBeCloseTo(Math.sqrt(0.01 / 0.99) + 0.01 / 0.99, 10);
    expect(rare! / 2 ** 32).toBeGreaterThanOrEqual(1);
  });
});

describe('a stage of word vectors', () => {
  it.each(['skipGram', 'cbow'])(
    '%s: the loss falls, and a resumed run has the same bits',
    async (architecture) => {
      const whole = await wordStage({ architecture });
      const losses: number[] = [];
      for (let step = 0; step < 12; step++) losses.push((await whole.step(step)).loss);
      expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.1);

      const begun = await wordStage({ architecture });
      for (let step = 0; step < 5; step++) await begun.step(step);
      const resumed = await wordStage({ architecture });
      resumed.restore(structuredClone(begun.state()));
      for (let step = 5; step < 12; step++) await resumed.step(step);
      expect(resumed.state()).toEqual(whole.state());
      for (const stage of [whole, begun, resumed]) await stage.dispose();
    },
  );

  it('embeds a text as the mean of its words, whatever is unknown', async () => {
    const stage = await wordStage();
    for (let step = 0; step < 4; step++) await stage.step(step);
    const { data, dimensions } = await stage.encode(['dog road', 'Dog, zebra: road!', '!?']);
    for (let d = 0; d < dimensions; d++) {
      expect(data[dimensions + d]).toBeCloseTo(data[d]!, 5);
      expect(data[2 * dimensions + d]).toBe(0);
    }
    await stage.dispose();
  });

  it.each(['tuning', 'pooling', 'attention', 'prompt'])('has no %s of its own', (key) => {
    const stage = { objective: 'word2vec', maxSteps: 1, batchTexts: 1, [key]: 'mean' };
    expect(stageSchema.safeParse(stage).error?.issues[0]?.message).toMatch(/a word2vec stage has no/);
  });
});
