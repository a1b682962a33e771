import { matMul, type Tensor } from '@tensorflow/tfjs';
import type { Params } from '../models/layers.js';
import { assertNever } from '../shared/errors.js';
import { eosPooling } from './eos.js';
import { firstPooling } from './first.js';
import { lastPooling } from './last.js';
import { latentAttentionPooling } from './latent-attention.js';
import { meanPooling } from './mean.js';
import type { Pooling } from './pooling.js';
import type { PoolingConfig } from './schema.js';
import { weightedMeanPooling } from './weighted-mean.js';

/** The one registry: a new pooling is a file of its own, a member of the schema and a line here. */
export function createPooling(config: PoolingConfig, hiddenSize: number): Pooling {
  switch (config.type) {
    case 'first':
      return firstPooling();
    case 'mean':
      return meanPooling();
    case 'weightedMean':
      return weightedMeanPooling();
    case 'last':
      return lastPooling();
    case 'eos':
      return eosPooling();
    case 'latentAttention':
      return latentAttentionPooling(config, hiddenSize);
    default:
      return assertNever(config);
  }
}

/**
 * Packed rows to embeddings: hidden [L, D] of L = R * T places and membership [N, L] to [N, E], as one matrix product.
 */
export function poolPacked(
  pooling: Pooling,
  params: Params,
  { hidden, membership }: { readonly hidden: Tensor; readonly membership: Tensor },
): Tensor {
  const states = pooling.transform?.(hidden, params) ?? hidden;
  return matMul(pooling.weights(membership), states);
}

/** A padded batch to embeddings: hidden [N, T, D] and pool mask [N, T] (0 or 1, float32) to [N, E]. */
export function poolPadded(
  pooling: Pooling,
  params: Params,
  { hidden, mask }: { readonly hidden: Tensor; readonly mask: Tensor },
): Tensor {
  const [texts, tokens, width] = hidden.shape as [number, number, number];
  const flat = pooling.transform?.(hidden.reshape([texts * tokens, width]), params);
  const states = flat?.reshape([texts, tokens, width]) ?? hidden;
  return matMul(pooling.weights(mask).reshape([texts, 1, tokens]), states).reshape([texts, width]);
}

/** e / |e|, with a floor under the norm that a real text never meets. */
export function normalise(embedding: Tensor): Tensor {
  return embedding.div(embedding.square().sum(-1, true).sqrt().maximum(1e-12));
}
