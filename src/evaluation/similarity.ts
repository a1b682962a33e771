import type { EmbeddingMatrix } from './encoder.js';

/** How alike two embeddings are; larger is more alike (the two distances are negated). */
export const similarities = ['cosine', 'dot', 'euclidean', 'manhattan'] as const;
export type Similarity = (typeof similarities)[number];

/** For each similarity one number per pair. */
export type PairSimilarities = Readonly<Record<Similarity, Float64Array>>;

/**
 * The four similarities of row `first[p]` with row `second[p]`, in float64: `a.b / (|a||b|)` (0 where a vector is zero),
 * `a.b`, `-|a - b|_2`, `-|a - b|_1`. Shapes: matrix [N, E], first and second [P] -> four times [P].
 */
export function pairSimilarities(
  matrix: EmbeddingMatrix,
  first: Uint32Array,
  second: Uint32Array,
): PairSimilarities {
  const { data, dimensions } = matrix;
  const pairs = first.length;
  const result = emptySimilarities(pairs);
  for (let p = 0; p < pairs; p++) {
    const a = (first[p] as number) * dimensions;
    const b = (second[p] as number) * dimensions;
    let dot = 0;
    let normA = 0;
    let normB = 0;
    let squares = 0;
    let absolutes = 0;
    for (let d = 0; d < dimensions; d++) {
      const x = data[a + d] as number;
      const y = data[b + d] as number;
      const difference = x - y;
      dot += x * y;
      normA += x * x;
      normB += y * y;
      squares += difference * difference;
      absolutes += Math.abs(difference);
    }
    result.cosine[p] = cosine(dot, normA, normB);
    result.dot[p] = dot;
    result.euclidean[p] = -Math.sqrt(squares);
    result.manhattan[p] = -absolutes;
  }
  return result;
}

/**
 * Cosine from the inner product and the two squared norms; 0 where one of the vectors is zero.
 * One square root of the product, so that a vector's cosine with itself is exactly 1: equal texts must tie.
 */
export function cosine(dot: number, squaredNormA: number, squaredNormB: number): number {
  return squaredNormA === 0 || squaredNormB === 0 ? 0 : dot / Math.sqrt(squaredNormA * squaredNormB);
}

export function emptySimilarities(pairs: number): Record<Similarity, Float64Array> {
  return {
    cosine: new Float64Array(pairs),
    dot: new Float64Array(pairs),
    euclidean: new Float64Array(pairs),
    manhattan: new Float64Array(pairs),
  };
}
