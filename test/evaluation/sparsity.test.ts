import { expect, it } from 'vitest';
import { sparsityOf } from '../../src/evaluation/sparsity.js';

it('counts the numbers in use and the multiplications of an inner product', () => {
  // Dimension 0 is used by both, 1 and 2 by one each, 3 by none.
  const data = Float32Array.from([1, 2, 0, 0, -1, 0, 3, 0]);
  const sparsity = sparsityOf({ rows: 2, dimensions: 4, data });
  expect(sparsity).toEqual({ dimensions: 4, active: 2, flops: 1 + 0.25 + 0.25 });
  // What it is an expectation of: products of two of the vectors, each with each.
  const products = [0, 1].flatMap((a) =>
    [0, 1].map((b) => [0, 1, 2, 3].filter((j) => data[4 * a + j] !== 0 && data[4 * b + j] !== 0).length),
  );
  expect(sparsity?.flops).toBe(products.reduce((sum, count) => sum + count) / 4);
});

it('says nothing of dense vectors', () => {
  expect(sparsityOf({ rows: 1, dimensions: 3, data: Float32Array.from([1, 2, 3]) })).toBeUndefined();
});
