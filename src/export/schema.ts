import { z } from 'zod';

export const exportSchema = z.strictObject({
  /** One ONNX file per entry; none: no embedder folder is written. */
  files: z.array(z.enum(['float32'])).default(['float32']),
});
export type ExportConfig = Readonly<z.output<typeof exportSchema>>;
