import { pooledCount, type Pooling } from './pooling.js';

/** e = sum h_i / n over the n pooled tokens. */
export function meanPooling(): Pooling {
  return {
    weights: (membership) => membership.div(pooledCount(membership)),
    sentenceTransformersMode: 'mean',
  };
}
