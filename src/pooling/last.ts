import { ordinal, type Pooling } from './pooling.js';

/** The last pooled token, found by the mask: right on either side of padding. */
export function lastPooling(): Pooling {
  return {
    weights: (membership) => {
      const rank = ordinal(membership);
      return rank.equal(membership.sum(-1, true)).cast('float32').mul(membership);
    },
    sentenceTransformersMode: 'lasttoken',
  };
}
