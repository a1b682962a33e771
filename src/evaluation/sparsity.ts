import type { EmbeddingMatrix } from './encoder.js';

/** How few numbers of sparse vectors are in use. */
export interface Sparsity {
  readonly dimensions: number;
  /** Numbers of a vector that are not zero, on average. */
  readonly active: number;
  /**
   * Multiplications that the inner product of two of the vectors is expected to take: the sum over dimensions of the squared share of vectors
   * that use it (Paria et al. 2020). active² / dimensions where all dimensions are used alike, more where the same ones are used by all.
   */
  readonly flops: number;
}

/** Undefined where hardly a number is zero: dense vectors. */
export function sparsityOf({ rows, dimensions, data }: EmbeddingMatrix): Sparsity | undefined {
  const used = new Uint32Array(dimensions);
  for (let row = 0; row < rows; row++)
    for (let j = 0; j < dimensions; j++)
      if (data[row * dimensions + j] !== 0) used[j] = (used[j] as number) + 1;
  const active = used.reduce((sum, count) => sum + count, 0) / rows;
  if (rows === 0 || active > 0.9 * dimensions) return undefined;
  return { dimensions, active, flops: used.reduce((sum, count) => sum + (count / rows) ** 2, 0) };
}
