import type { LossScaleState } from './loss-scale.js';
import type { StageConfig } from './schema.js';

/** What one optimizer step reports. */
export interface StepResult {
  readonly loss: number;
  /** Tokens of the texts. */
  readonly tokens: number;
  /** Tokens that were multiplied, blank places included. */
  readonly multipliedTokens: number;
  /** Euclidean norm of the whole gradient before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Of float16: what the step's gradients were multiplied by. */
  readonly lossScale?: number;
  /** Gradients left float16 at that scale: the parameters stay as they were, and the scale is halved. */
  readonly skipped?: true;
}

/** AdamW's memory: number of updates so far, first and second moments by parameter name. */
export interface OptimizerState {
  readonly step: number;
  readonly m: ReadonlyMap<string, Float32Array>;
  readonly v: ReadonlyMap<string, Float32Array>;
}

/** Everything that a stage needs to go on exactly where it was. */
export interface TrainingState {
  /** Trainable parameters by their Hugging Face names. */
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly optimizer: OptimizerState;
  /** Of float16. */
  readonly lossScale?: LossScaleState;
}

/** What a stage says about itself before its first step (`--dry-run`, `inspect`). */
export interface StageDescription {
  readonly parameters: number;
  readonly trainableParameters: number;
  /** Floating-point operations per token of one training step. */
  readonly flopsPerToken: number;
  readonly savePolicy: string;
  /** What the blocks multiply in, where that is not float32. */
  readonly computePrecision?: string;
  /** Copies of the decoder's weights in memory: one for each thread that runs blocks of its own. */
  readonly weightCopies: number;
  /** Bytes, all of them: weights, optimizer, saved values, workspace. */
  readonly memoryEstimate: number;
  /** The same part by part. */
  readonly memoryParts: Readonly<Record<string, number>>;
  /** The first batch as text, its masked and pooled tokens marked: one line per text. */
  readonly firstBatch: readonly string[];
}

/**
 * One stage of training. Step `index` (from 0) is a pure function of the state before it and of (seed, stage, index): that makes
 * a resumed run equal to an undisturbed one. A step whose loss or gradient norm is not finite leaves the state as it was, but for the loss scale.
 */
export interface StageRunner {
  /** A sentence for the user before the first step: it does not fit `train.memory`. */
  readonly warning?: string;
  /** The live state; a checkpoint copies it. */
  state(): TrainingState;
  /** Takes over a saved state. @throws UserError where names or sizes do not fit. */
  restore(state: TrainingState): void;
  step(index: number): Promise<StepResult>;
  /** Embeddings [N, E] of the model as it is now, with the run's prompt (or another of its prompts, by name) and pooling and without dropout. */
  encode(
    texts: readonly string[],
    promptName?: string,
  ): Promise<{ rows: number; dimensions: number; data: Float32Array }>;
  /** Fills a folder with the model as it is now: adapter or weights, tokenizer, lmvec.json with its lineage. */
  save(folder: string): Promise<void>;
  describe(): Promise<StageDescription>;
  dispose(): Promise<void>;
}

/** The outcome of an earlier stage of the run, to be merged before the next one begins. */
export interface FinishedStage {
  readonly name: string;
  readonly stage: StageConfig;
  readonly parameters: ReadonlyMap<string, Float32Array>;
}

export interface StageOptions {
  readonly name: string;
  readonly stage: StageConfig;
  /** In their order. */
  readonly previous: readonly FinishedStage[];
}

export type CreateStage = (options: StageOptions) => Promise<StageRunner>;
