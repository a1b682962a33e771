import { matMul, mul, type Tensor } from '@tensorflow/tfjs';
import { normalise } from '../../pooling/registry.js';
import { crossEntropy } from './cross-entropy.js';

export interface InfoNceInput {
  /** [N, E] */
  readonly queries: Tensor;
  /** [N + K, E]: document n is the positive of query n, all others are negatives. */
  readonly documents: Tensor;
  /** [N] int32: 0, 1, 2 ... */
  readonly labels: Tensor;
  /** 1 / temperature */
  readonly scale: number;
}

/** Mean over n of -log softmax_j(scale * cos(q_n, d_j))[n]. van den Oord et al. 2018; SimCSE: Gao et al. 2021, eq. 1. */
export function infoNce({ queries, documents, labels, scale }: InfoNceInput): Tensor {
  const cosines = matMul(normalise(queries), normalise(documents), false, true);
  return crossEntropy(mul(cosines, scale), labels).mean();
}
