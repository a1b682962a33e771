import type { TensorPool } from '../compiler/pool.js';
import type { ComputePrecision } from '../compiler/precision.js';
import type { HostTensor } from '../compiler/program.js';
import type { SavePolicy } from '../compiler/split.js';
import type { Batch } from '../data/batch.js';
import type { DropoutContext } from './block-masks.js';
import type { Decoder } from './decoder.js';
import type { GradientSink } from './gradient-sink.js';
import type { PrefixStates } from './prefix.js';
import type { RowPast } from './row-past.js';
import type { AttentionMode, WindowMode } from './schema.js';
import type { Tile } from './tiles.js';

/** What a forward pass is to do. */
export interface ForwardOptions {
  /** What the backward pass needs is held until `backward` or `release`; otherwise only the result is. */
  readonly keep: boolean;
  readonly dropout?: DropoutContext;
  /** Blocks to go through (default: all). */
  readonly layers?: number;
  /** What the routers of mixtures of experts say is wanted too; not with `keep`. */
  readonly routers?: boolean;
  /** Further numbers of blocks, fewer than `layers` and ascending, whose hidden states are wanted too. */
  readonly also?: readonly number[];
  /**
   * Tokens that stand before every text of the batches, which do not hold them: their keys and values are computed once and kept. Under causal
   * attention only, and not with `keep`: a prefix has no gradient.
   */
  readonly prefix?: Int32Array;
  /** The rows' own keys and values are wanted too; not with `keep` or `routers`. */
  readonly keysValues?: boolean;
  /** What stands before each row, one for each batch, whose rows hold one token; not with `keep`. */
  readonly past?: readonly RowPast[];
}

/** Runs a decoder over batches, forward and backward: on this thread (`DecoderRunner`) or on several (`ParallelRunner`). */
export interface Runner {
  readonly layers: number;
  /** Hidden states after the blocks. */
  forward(batches: readonly Batch[], options: ForwardOptions): Promise<Pass>;
  /**
   * Adds the gradients of all trainable parameters to `sink`; consumes the pass and the hidden gradients: those of a tile's `hidden` and `also`,
   * tile after tile.
   */
  backward(pass: Pass, hiddenGradients: readonly HostTensor[], sink: GradientSink): Promise<void>;
  /** Gives everything that a pass holds back. */
  release(pass: Pass): void;
  /** The weight as a tensor that shares its memory. */
  weight(name: string): HostTensor;
  /** To be called when trainable parameters got new values. */
  parametersChanged(): void;
  dispose(): Promise<void>;
}

export interface RunnerOptions {
  readonly decoder: Decoder;
  readonly attention: AttentionMode;
  /** Whether layers with a sliding window keep it (default keep). */
  readonly window?: WindowMode;
  readonly pool: TensorPool;
  readonly threads?: number;
  /** Parameters to differentiate by; empty for inference. Full tuning names the decoder's own weights. */
  readonly trainable?: ReadonlyMap<string, Float32Array>;
  /** alpha / rank of the adapters among `trainable` */
  readonly adapterScale?: number;
  readonly policy?: SavePolicy;
  readonly attentionDropout?: number;
  readonly adapterDropout?: number;
  /** Tokens that go through a block in one call. */
  readonly tileTokens?: number;
  /** Of the blocks' matrix products (default float32); on the CPU halves are emulated, for tests. */
  readonly computePrecision?: ComputePrecision;
}

/** What the router of a layer says of a tile's tokens, [R * T, X] each. */
export interface LayerRouter {
  readonly layer: number;
  readonly logits: HostTensor;
  /** softmax of the logits */
  readonly probabilities: HostTensor;
}

/** A forward pass through the blocks; `hidden` of a tile is the last block's output before the final norm, [R, T, D], `also` those asked for. */
export interface Pass {
  readonly tiles: readonly {
    readonly tile: Tile;
    readonly hidden: HostTensor;
    readonly also: readonly HostTensor[];
    /** Of the layers that have one, where asked for. */
    readonly routers?: readonly LayerRouter[];
    /** Of every block, [R, T, K, d] each, where asked for. */
    readonly keysValues?: PrefixStates;
  }[];
}
