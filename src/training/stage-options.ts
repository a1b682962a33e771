import type { Device } from '../compiler/device.js';
import type { ComputePrecision } from '../compiler/precision.js';
import type { SavePolicy } from '../compiler/split.js';
import type { TextList } from '../data/text-list.js';
import type { Decoder } from '../models/decoder.js';
import type { TuningConfig } from '../models/schema.js';
import type { EmbeddingRecipe, LineageStep } from '../pooling/embedding-model.js';
import type { TrainingExamples } from './contrastive-data.js';
import type { Objective, ObjectiveContext } from './objectives/objective.js';
import type { DecoderStageConfig } from './schema.js';
import type { FinishedStage } from './stage-runner.js';

/** What all stages of a run share. */
export interface StageFactoryOptions {
  readonly decoder: Decoder;
  /** The run's own; a stage may override parts. */
  readonly recipe: EmbeddingRecipe;
  readonly tuning: TuningConfig;
  readonly seed: number;
  readonly threads?: number;
  readonly device?: Device;
  /** What the blocks multiply in (default float32). */
  readonly computePrecision?: ComputePrecision;
  /** Bytes; the fastest save policy that fits is taken. */
  readonly memory?: number;
  readonly savePolicy?: SavePolicy;
  readonly data: TrainingData;
  /** What the model that is trained has of a pooling's parameters: training goes on from there. */
  storedPooling?(shapes: ReadonlyMap<string, readonly number[]>): Promise<ReadonlyMap<string, Float32Array>>;
  /** In place of the stage's own objective over `data`: batches that are given, as the bench has them. */
  createObjective?(stage: DecoderStageConfig, context: ObjectiveContext): Objective;
  /** Fills a folder with the model as it is now. */
  save(folder: string, model: StageModel): Promise<void>;
}

export interface TrainingData {
  readonly sentences: TextList;
  /** The same texts line by line, an empty line after each document. */
  documents(): AsyncIterable<string>;
  /** Of all documents; where it is left out, all of them are tokenised, however many there are. */
  readonly characters?: number;
  /** By name, for contrastive stages. */
  readonly exampleSets?: ReadonlyMap<string, TrainingExamples>;
}

/** A stage's model, for saving. */
export interface StageModel {
  readonly decoder: Decoder;
  readonly recipe: EmbeddingRecipe;
  readonly tuning: TuningConfig;
  /** Trained parameters of this stage. */
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly previous: readonly FinishedStage[];
  readonly lineage: readonly LineageStep[];
}
