/** Turn a decoder-only language model into a text-embedding model: what the commands do, as functions. */
export { loadConfig, parseConfig, type LoadedConfig } from './config/load.js';
export { promptPresets, type PromptPreset } from './data/prompt-presets.js';
export { Embedder, type EmbedderOptions, type EncodeOptions } from './embedder/embedder.js';
export type { EmbeddingMatrix, Encode } from './evaluation/encoder.js';
export type { EvalResult } from './evaluation/evaluate.js';
export { comparisonLine, resultTable, type ReportRow } from './evaluation/report.js';
export { quantise, rangesOf, type Precision } from './embedder/quantise.js';
export { methods, type Method } from './pooling/methods.js';
export { calibrate, calibrateRanges, type CalibrateOptions } from './recipes/calibrate.js';
export { embed, type EmbedOptions } from './recipes/embed.js';
export { evaluate, type EvaluateModelOptions, type EvaluationReport } from './recipes/evaluate.js';
export { exportEmbedder, type ExportEmbedderOptions } from './recipes/export.js';
export { pushEmbedder, type PushEmbedderOptions } from './recipes/push.js';
export { examineMachine, type MachineReport } from './recipes/doctor.js';
export { setupCuda, type SetupCudaOptions } from './recipes/setup/cuda.js';
export { setupTensorFlow, type SetupTensorFlowOptions } from './recipes/setup/tensorflow.js';
export { measureLayers, type LayersOptions, type LayersReport } from './recipes/layers.js';
export { openModel, type ModelOptions, type OpenModel } from './recipes/open-model.js';
export { runSchema, type RunConfig } from './recipes/schema.js';
export { serve, type RunningServer, type ServeOptions } from './recipes/serve.js';
export { resume, train, type TrainOptions, type TrainResult } from './recipes/train.js';
export { UserError } from './shared/errors.js';
export {
  createProgress,
  type Progress,
  type ProgressOptions,
  type ProgressUpdate,
} from './shared/progress.js';
