import type { Batch } from '../data/batch.js';
import type { Decoder } from './decoder.js';
import type { ForwardOptions, RunnerOptions } from './runner.js';

/** What a worker thread is started with: everything of `RunnerOptions` that can be copied to another thread. */
export interface WorkerStart extends Omit<RunnerOptions, 'pool' | 'decoder'> {
  readonly decoder: Pick<Decoder, 'config' | 'shapes' | 'weights'>;
  /** Each thread has its own. */
  readonly pool: undefined;
  /** In memory that both threads see. Values of `trainable`, to be copied at the request `parameters`. */
  readonly parameters: ReadonlyMap<string, Float32Array>;
  /** In memory that both threads see: the worker's sums of gradients, whole when it answers `backward`. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** Requests to a worker thread, answered in their order. `pass` names a forward pass for later requests. */
export type WorkerRequest =
  | {
      readonly kind: 'forward';
      readonly pass: number;
      readonly batches: readonly Batch[];
      readonly options: ForwardOptions;
    }
  | { readonly kind: 'backward'; readonly pass: number; readonly hiddenGradients: readonly Float32Array[] }
  | { readonly kind: 'release'; readonly pass: number }
  | { readonly kind: 'parameters' };

export type WorkerReply =
  /** Hidden states of each tile and those asked for beside them, or nothing. */
  { readonly hidden: readonly Float32Array[] } | { readonly done: true };
