import type { Tensor } from '@tensorflow/tfjs';
import type { Params } from '../models/layers.js';

/**
 * One way from the hidden states of a text to its embedding: a weighted sum over its pooled tokens, after an optional trained
 * transformation of every token. Never assumes where a text lies or on which side padding is.
 */
export interface Pooling {
  /**
   * The chosen hidden states, [R, T, D] each, to the one that is pooled. Left out: their average. `mask`, [R, 1, T, T], is that of attention in
   * both directions within each text.
   */
  read?(states: readonly Tensor[], params: Params, mask: () => Tensor): Tensor;
  /**
   * Weights of the sum. `membership` [N, L] float32 is 1 where place l holds a pooled token of text n, else 0; tokens of a text are
   * in order. A blank text (all 0) gets weights 0.
   */
  weights(membership: Tensor): Tensor;
  /** hidden [M, D] to [M, D], with the trained parameters. */
  transform?(hidden: Tensor, params: Params): Tensor;
  /** From the pooled vectors [N, D], and the pooled routing [N, X] of a mixture of experts, to embeddings [N, E]. */
  project?(pooled: Tensor, params: Params, routes?: Tensor): Tensor;
  /** E, where it is not D. */
  readonly dimensions?: number;
  /** Whose routers' logits are pooled beside the hidden states: layers of the decoder, in this order (MoEE). */
  readonly routing?: { readonly layers: readonly number[]; readonly weights: 'softmax' | 'logits' };
  /** Whether `read` looks at all tokens of a text: then none can be left out of a pass. */
  readonly readsAllTokens?: boolean;
  /** Shapes of the trained parameters by name. */
  readonly parameterShapes?: ReadonlyMap<string, readonly number[]>;
  /** Shapes of saved statistics by name: parameters that are measured, never trained. */
  readonly statisticShapes?: ReadonlyMap<string, readonly number[]>;
  /** Fresh parameters. */
  initialise?(seed: number): Map<string, Float32Array>;
  /** The family's end token is put behind every text. */
  readonly appendEos?: boolean;
  /** Only the whole text's last token matters: `1_Pooling` of sentence-transformers knows these. */
  readonly sentenceTransformersMode?: 'mean' | 'cls' | 'lasttoken' | 'weightedmean';
}

/** 1, 2, 3 ... along the pooled tokens of each text, 0 elsewhere: [N, L]. */
export function ordinal(membership: Tensor): Tensor {
  // Eager tfjs takes no negative axis here.
  return membership.cumsum(membership.rank - 1).mul(membership);
}

/** Number of pooled tokens of each text, [N, 1]; 1 for a blank text, so that it can divide. */
export function pooledCount(membership: Tensor): Tensor {
  return membership.sum(-1, true).maximum(1);
}
