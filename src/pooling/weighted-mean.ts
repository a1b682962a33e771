import { ordinal, type Pooling } from './pooling.js';

/** e = sum i h_i / sum i, i = 1..n over the pooled tokens. Muennighoff 2022 (SGPT), eq. 2. */
export function weightedMeanPooling(): Pooling {
  return {
    weights: (membership) => {
      const rank = ordinal(membership);
      return rank.div(rank.sum(-1, true).maximum(1));
    },
    sentenceTransformersMode: 'weightedmean',
  };
}
