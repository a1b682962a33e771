import { z } from 'zod';
import { exportFormats } from '../pooling/manifest.js';

/** What lies beside the ONNX files: all weights, adapters merged, or one adapter (PEFT) on the base that was trained. */
export const exportedWeights = ['merged', 'adapter'] as const;
export type ExportedWeights = (typeof exportedWeights)[number];

export const exportSchema = z.strictObject({
  /** One ONNX file per entry (float32, fp16, int8, q4); none: no embedder folder is written. */
  files: z.array(z.enum(exportFormats)).default(['float32']),
  weights: z.enum(exportedWeights).default('merged'),
  /** The first numbers of each vector, at length 1 again: for models trained for it (Matryoshka). Default: all. */
  dimensions: z.int().min(1).optional(),
});
export type ExportConfig = Readonly<z.output<typeof exportSchema>>;
