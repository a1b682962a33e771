import type { Encode } from '../evaluation/encoder.js';
import type { ModelMeta } from '../evaluation/mteb.js';
import type { AttentionMode, WindowMode } from '../models/schema.js';
import type { PoolingConfig } from '../pooling/schema.js';
import { internalError } from '../shared/errors.js';

/**
 * Any model that embeds: a run's best/ or last/, an exported embedder folder, or a decoder (folder or GGUF) with nothing trained.
 * What is left out is the model's own; a decoder's own is causal, mean of the last layer, no prompt.
 */
export interface ModelOptions {
  readonly model: string;
  readonly attention?: AttentionMode;
  readonly window?: WindowMode;
  readonly pooling?: PoolingConfig['type'];
  readonly layer?: number;
  /** A preset's name or a frame with `{text}` in it. */
  readonly prompt?: string;
  readonly maxTokens?: number;
  readonly threads?: number;
}

export interface OpenModel {
  /** Rows are unit vectors. */
  readonly encode: Encode;
  readonly dimensions: number;
  /** For result files. */
  readonly meta: ModelMeta;
  /** What `inspect` prints: parameters, lineage, attention mode, pooling, prompt, probe result. */
  readonly description: Readonly<Record<string, unknown>>;
  close(): Promise<void>;
}

/** @throws UserError where the model cannot be read or an option does not fit it. */
export function openModel(options: ModelOptions): Promise<OpenModel> {
  return Promise.reject(internalError(`models cannot be opened yet: ${options.model}`));
}
