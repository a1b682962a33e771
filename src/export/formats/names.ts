import type { ExportFormat } from '../../pooling/manifest.js';

/** What stands behind `model` in a file's name, as transformers.js and optimum look for it. */
export const formatSuffix: Readonly<Record<ExportFormat, string>> = {
  float32: '',
  fp16: '_fp16',
  int8: '_quantized',
  q4: '_q4',
};

/** The `dtype` with which transformers.js opens a file. */
export const transformersJsType: Readonly<Record<ExportFormat, string>> = {
  float32: 'fp32',
  fp16: 'fp16',
  int8: 'q8',
  q4: 'q4',
};

/** How the numbers are kept, for cards; a dense head's are float32 in all of them. */
export const formatWords: Readonly<Record<ExportFormat, string>> = {
  float32: 'float32',
  fp16: 'float16 matrices, float32 between them',
  int8: '8-bit matrices, one scale a column; activations in 8 bits, one scale a token',
  q4: '4-bit matrices, one scale for 32 numbers; token embeddings in 8 bits',
};
