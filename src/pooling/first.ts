import { ordinal, type Pooling } from './pooling.js';

/** The first pooled token. */
export function firstPooling(): Pooling {
  return {
    weights: (membership) => ordinal(membership).equal(1).cast('float32'),
    sentenceTransformersMode: 'cls',
  };
}
