import { expect, it } from 'vitest';
import { randomStream } from '../../../src/shared/random.js';
import { addSparsityPenalty } from '../../../src/training/losses/sparsity.js';

const [rows, width] = [5, 7];
const random = randomStream(3);
const embeddings = Float32Array.from({ length: rows * width }, (_, i) => (i % 4 === 0 ? 0 : random.normal()));
const penaltyOf = (type: 'flops' | 'l1', x: Float32Array): number =>
  addSparsityPenalty(
    { type, weight: 0.3 },
    { embeddings: x, gradient: new Float32Array(rows * width), width },
  );

it.each(['flops', 'l1'] as const)('%s: its gradient is that of finite differences', (type) => {
  const gradient = new Float32Array(rows * width).fill(1);
  addSparsityPenalty({ type, weight: 0.3 }, { embeddings, gradient, width });
  const step = 1e-3;
  for (const [i, value] of gradient.entries()) {
    // |x| has no slope at 0.
    if (embeddings[i] === 0) continue;
    const moved = (by: number): number =>
      penaltyOf(
        type,
        embeddings.map((x, k) => (k === i ? x + by : x)),
      );
    expect(value - 1).toBeCloseTo((moved(step) - moved(-step)) / (2 * step), 4);
  }
});

it('has the values that are defined', () => {
  const x = Float32Array.from([3, 4, 0, 0, 0, 2]);
  const of = (type: 'flops' | 'l1'): number =>
    addSparsityPenalty({ type, weight: 2 }, { embeddings: x, gradient: new Float32Array(6), width: 3 });
  expect(of('l1')).toBeCloseTo(2 * ((0.6 + 0.8 + 1) / 2), 6);
  expect(of('flops')).toBeCloseTo(2 * (0.3 ** 2 + 0.4 ** 2 + 0.5 ** 2), 6);
});

it('does not care how long the vectors are', () => {
  expect(
    penaltyOf(
      'flops',
      embeddings.map((x) => 10 * x),
    ),
  ).toBeCloseTo(penaltyOf('flops', embeddings), 6);
});
