import { z } from 'zod';
import { exportFormats } from '../pooling/manifest.js';

export const exportSchema = z.strictObject({
  /** One ONNX file per entry (float32, fp16, int8, q4); none: no embedder folder is written. */
  files: z.array(z.enum(exportFormats)).default(['float32']),
});
export type ExportConfig = Readonly<z.output<typeof exportSchema>>;
