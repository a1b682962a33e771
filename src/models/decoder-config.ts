import type { AddedTokens } from '../data/added-tokens.js';
import { internalError } from '../shared/errors.js';
import type { RopeConfig } from './rope-config.js';

/**
 * What the shared parts need to know of a decoder (or an encoder, which is built of the same parts), whatever its family (families/ makes it from config.json). Plain data: it goes to
 * other threads. Sizes are in config.json's words; a weight's name is the checkpoint's own.
 */
export interface DecoderConfig {
  readonly model_type: string;
  /** Trained to see both sides: no other attention makes sense of it, and nothing predicts a next token. */
  readonly encoder?: true;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly vocab_size: number;
  /** The longest text; a larger one has no position where `embedding.positions` are learned. */
  readonly max_position_embeddings: number;
  readonly tie_word_embeddings: boolean;
  readonly embedding: EmbeddingConfig;
  /** Before the number of a layer in the name of a weight: `model.layers.` */
  readonly blocks: string;
  /** Distinct structures of blocks, each compiled once. */
  readonly structures: readonly BlockConfig[];
  /** One for each layer. */
  readonly layers: readonly LayerConfig[];
  /** Rotations by name: layers may differ. */
  readonly ropes: Readonly<Record<string, RopeConfig>>;
  readonly output: OutputConfig;
}

/** From token ids to the first block's input. */
export interface EmbeddingConfig {
  /** [V, width] */
  readonly weight: string;
  readonly width: number;
  /** Embeddings are multiplied by it. */
  readonly scale?: number;
  /** [D, width], where the width is not D. */
  readonly projection?: string;
  /** Learned positions [rows, D]: row `position + offset` is added. */
  readonly positions?: { readonly weight: string; readonly rows: number; readonly offset: number };
  /** Learned kinds of segments [rows, D]: row 0 is added, a text being one segment. */
  readonly segments?: { readonly weight: string; readonly rows: number };
  /** Of the sum. */
  readonly norm?: NormConfig;
  /** Special tokens that a pooling puts behind every text: their rows are trained apart from the others (added-tokens.ts). */
  readonly added?: AddedTokens;
}

/** From the last block's output to the last hidden state and to logits. */
export interface OutputConfig {
  readonly norm?: NormConfig;
  /** [width, D], where the last hidden state has another width than the blocks. */
  readonly projection?: string;
  readonly width: number;
  /** [V, width], absent from the file where tied; an encoder has none. */
  readonly head?: string;
  /** c: logits are c * tanh(logits / c). */
  readonly softcap?: number;
}

/** Which structure a layer has and what it is given. */
export interface LayerConfig {
  /** Index into `structures`. */
  readonly structure: number;
  /** Name in `ropes`; absent: positions are not rotated. */
  readonly rope?: string;
  /** Attention reaches this far: a query sees the keys with i - j < window (causal), |i - j| <= window (bidirectional). */
  readonly window?: number;
}

/** One structure of blocks: weights by their names without the layer's prefix. */
export interface BlockConfig {
  readonly attention: AttentionConfig;
  readonly feedForward: FeedForwardConfig;
  readonly norms: BlockNorms;
  /** x + attention(norm(x)) + feedForward(norm(x)) instead of one after the other. */
  readonly parallel: boolean;
  readonly layout: MatrixLayout;
  /** Biases that the family does not have, on every matrix but those of experts that a router chooses: see added-biases.ts. */
  readonly addedBiases?: true;
}

/** How matrices are stored: [out, in], or [in, out] (GPT-2's Conv1D). */
export type MatrixLayout = 'outIn' | 'inOut';

/** Where a block normalises: what goes into a part, what comes out of it before it is added, the sum after that. */
export interface BlockNorms {
  readonly attentionInput?: NormConfig;
  readonly attentionOutput?: NormConfig;
  readonly attentionSum?: NormConfig;
  readonly feedForwardInput?: NormConfig;
  readonly feedForwardOutput?: NormConfig;
  readonly feedForwardSum?: NormConfig;
}

/** `rms`: w * x / rms(x); `rmsPlusOne`: (1 + w) * x / rms(x); `layer`: w * (x - mean) / deviation + b; `layerWithoutBias`: the same, b being 0. */
export interface NormConfig {
  readonly kind: 'rms' | 'rmsPlusOne' | 'layer' | 'layerWithoutBias';
  /** Without `.weight` and `.bias`. */
  readonly name: string;
  readonly width: number;
  readonly eps: number;
}

export interface AttentionConfig {
  readonly heads: number;
  readonly keyHeads: number;
  readonly headDim: number;
  readonly projection: ProjectionConfig;
  readonly inputBias: boolean;
  readonly output: string;
  readonly outputBias: boolean;
  /** Scores are q k^T times this. */
  readonly scale: number;
  /** Norms of queries and keys, of each head (width headDim) or of all together. */
  readonly queryNorm?: NormConfig;
  readonly keyNorm?: NormConfig;
  /** Queries, keys and values are held between -clip and clip. */
  readonly clip?: number;
  /** c: scores are c * tanh(scores / c). */
  readonly softcap?: number;
}

/**
 * `separate`: a matrix each. `joined`: one, whose rows are all queries, then keys, then values. `joinedByHead`: one, with query, key
 * and value of the first head, then of the second, and so on.
 */
export type ProjectionConfig =
  | { readonly kind: 'separate'; readonly query: string; readonly key: string; readonly value: string }
  | { readonly kind: 'joined' | 'joinedByHead'; readonly weight: string };

/** Each kind is one case of `feedForward`. */
export type FeedForwardConfig = DenseFeedForwardConfig | ExpertsConfig;

/** `joinedGate`: gate and up are the halves of one matrix. */
export type DenseFeedForwardConfig = FeedForwardShape &
  (
    | { readonly kind: 'gated'; readonly gate: string; readonly up: string; readonly down: string }
    | { readonly kind: 'joinedGate'; readonly gateUp: string; readonly down: string }
    | { readonly kind: 'plain'; readonly up: string; readonly down: string }
  );

interface FeedForwardShape {
  /** F */
  readonly width: number;
  readonly bias: boolean;
  readonly activation: Activation;
}

/** A mixture of experts: gated feed-forward parts, of which a router chooses some for each token. */
export interface ExpertsConfig {
  readonly kind: 'experts';
  /** [X, D] for X experts */
  readonly router: string;
  /** X */
  readonly count: number;
  /** Experts that a token sees. */
  readonly perToken: number;
  /** Whether the probabilities of a token's experts are divided by their sum. */
  readonly renormalise: boolean;
  /** Before the number of an expert in the name of a weight: `mlp.experts.` */
  readonly experts: string;
  /** What follows the number. */
  readonly gate: string;
  readonly up: string;
  readonly down: string;
  /** F of one expert */
  readonly width: number;
  readonly activation: Activation;
  /** A feed-forward part that every token sees, times sigmoid(x g^T) where it has a gate g [1, D]. */
  readonly shared?: { readonly part: DenseFeedForwardConfig; readonly gate?: string };
}

/** Names of transformers' `ACT2FN`. */
export const activations = ['silu', 'gelu', 'gelu_new', 'gelu_pytorch_tanh', 'relu'] as const;
export type Activation = (typeof activations)[number];

/** The structure of a layer's block. */
export function structureOf(config: DecoderConfig, layer: number): BlockConfig {
  const index = config.layers[layer]?.structure ?? -1;
  const structure = config.structures[index];
  if (structure === undefined) throw internalError(`no structure for layer ${layer}`);
  return structure;
}

/** Tokens of the longest text that has positions: a rotation goes on for ever, a table of learned ones ends. */
export function positionLimit(config: Pick<DecoderConfig, 'embedding' | 'max_position_embeddings'>): number {
  return config.embedding.positions === undefined ? Infinity : config.max_position_embeddings;
}

/** Prefix of the names of a layer's weights: `model.layers.0.` */
export function blockPrefix(config: Pick<DecoderConfig, 'blocks'>, layer: number): string {
  return `${config.blocks}${layer}.`;
}

/** The layer that a weight belongs to; undefined where it is outside the blocks. */
export function layerOf(config: Pick<DecoderConfig, 'blocks'>, name: string): number | undefined {
  if (!name.startsWith(config.blocks)) return undefined;
  const layer = Number.parseInt(name.slice(config.blocks.length), 10);
  return Number.isNaN(layer) ? undefined : layer;
}
