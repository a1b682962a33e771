/** What is added to the loss of embeddings so that fewer of their numbers are in use. */
export interface SparsityPenalty {
  readonly type: 'flops' | 'l1';
  readonly weight: number;
}

/**
 * The penalty on unit vectors u = x / |x| of embeddings x [N, E]: `l1` mean over i of sum over j |u_ij|; `flops` sum over j of (mean over i of
 * |u_ij|)², which spreads what is used over the dimensions (Paria et al. 2020; Formal et al. 2021). Of unit vectors, as the similarity is their
 * cosine: of x itself it would only make them shorter. Adds its gradient to `gradient` [N, E] and returns the weighted penalty.
 */
export function addSparsityPenalty(
  { type, weight }: SparsityPenalty,
  { embeddings, gradient, width }: { embeddings: Float32Array; gradient: Float32Array; width: number },
): number {
  const rows = embeddings.length / width;
  const at = (i: number): number => embeddings[i] as number;
  const norms = Float64Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += at(row * width + j) ** 2;
    return Math.sqrt(sum);
  });
  const means = new Float64Array(width);
  eachNumber(rows, width, (row, j, i) => {
    const norm = norms[row] as number;
    if (norm > 0) means[j] = (means[j] as number) + Math.abs(at(i)) / norm / rows;
  });
  // By |u_ij|, times N: 1 or 2 mean_j.
  const slope = type === 'l1' ? new Float64Array(width).fill(1) : means.map((mean) => 2 * mean);
  for (const [row, norm] of norms.entries()) {
    if (norm === 0) continue;
    let along = 0;
    for (let j = 0; j < width; j++) along += ((slope[j] as number) * Math.abs(at(row * width + j))) / norm;
    for (let j = 0; j < width; j++) {
      const i = row * width + j;
      // Through the norm: the part along u does not count.
      const change = (slope[j] as number) * Math.sign(at(i)) - (along * at(i)) / norm;
      gradient[i] = (gradient[i] as number) + (weight * change) / (rows * norm);
    }
  }
  return weight * means.reduce((sum, mean) => sum + (type === 'l1' ? mean : mean ** 2), 0);
}

function eachNumber(rows: number, width: number, visit: (row: number, j: number, i: number) => void): void {
  for (let row = 0; row < rows; row++) for (let j = 0; j < width; j++) visit(row, j, row * width + j);
}
