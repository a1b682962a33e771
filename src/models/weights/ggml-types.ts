import { brainToFloat, halfToFloat, halfValues } from './half.js';

/** How a GGML type lies in the file: blocks of `blockSize` values in `blockBytes` bytes. */
export interface GgmlType {
  readonly name: string;
  readonly blockSize: number;
  readonly blockBytes: number;
  /** Expands whole blocks; missing where the type is known but cannot be read. */
  readonly expand?: (bytes: ArrayBuffer) => Float32Array;
}

/** Types by their number in the file (ggml.h, enum ggml_type). */
export const ggmlTypes: ReadonlyMap<number, GgmlType> = new Map<number, GgmlType>([
  [0, { name: 'F32', blockSize: 1, blockBytes: 4, expand: (bytes) => new Float32Array(bytes) }],
  [1, { name: 'F16', blockSize: 1, blockBytes: 2, expand: (bytes) => halfToFloat(new Uint16Array(bytes)) }],
  [2, { name: 'Q4_0', blockSize: 32, blockBytes: 18, expand: expandQ4_0 }],
  [3, { name: 'Q4_1', blockSize: 32, blockBytes: 20, expand: expandQ4_1 }],
  [6, { name: 'Q5_0', blockSize: 32, blockBytes: 22 }],
  [7, { name: 'Q5_1', blockSize: 32, blockBytes: 24 }],
  [8, { name: 'Q8_0', blockSize: 32, blockBytes: 34, expand: expandQ8_0 }],
  [9, { name: 'Q8_1', blockSize: 32, blockBytes: 40 }],
  [10, { name: 'Q2_K', blockSize: 256, blockBytes: 84 }],
  [11, { name: 'Q3_K', blockSize: 256, blockBytes: 110 }],
  [12, { name: 'Q4_K', blockSize: 256, blockBytes: 144 }],
  [13, { name: 'Q5_K', blockSize: 256, blockBytes: 176 }],
  [14, { name: 'Q6_K', blockSize: 256, blockBytes: 210 }],
  [15, { name: 'Q8_K', blockSize: 256, blockBytes: 292 }],
  [16, { name: 'IQ2_XXS', blockSize: 256, blockBytes: 66 }],
  [17, { name: 'IQ2_XS', blockSize: 256, blockBytes: 74 }],
  [18, { name: 'IQ3_XXS', blockSize: 256, blockBytes: 98 }],
  [19, { name: 'IQ1_S', blockSize: 256, blockBytes: 50 }],
  [20, { name: 'IQ4_NL', blockSize: 32, blockBytes: 18 }],
  [21, { name: 'IQ3_S', blockSize: 256, blockBytes: 110 }],
  [22, { name: 'IQ2_S', blockSize: 256, blockBytes: 82 }],
  [23, { name: 'IQ4_XS', blockSize: 256, blockBytes: 136 }],
  [24, { name: 'I8', blockSize: 1, blockBytes: 1 }],
  [25, { name: 'I16', blockSize: 1, blockBytes: 2 }],
  [26, { name: 'I32', blockSize: 1, blockBytes: 4 }],
  [27, { name: 'I64', blockSize: 1, blockBytes: 8 }],
  [28, { name: 'F64', blockSize: 1, blockBytes: 8 }],
  [29, { name: 'IQ1_M', blockSize: 256, blockBytes: 56 }],
  [
    30,
    { name: 'BF16', blockSize: 1, blockBytes: 2, expand: (bytes) => brainToFloat(new Uint16Array(bytes)) },
  ],
  [34, { name: 'TQ1_0', blockSize: 256, blockBytes: 54 }],
  [35, { name: 'TQ2_0', blockSize: 256, blockBytes: 66 }],
  [39, { name: 'MXFP4', blockSize: 32, blockBytes: 17 }],
]);

/** The types that can be read, for error messages. */
export const readableTypes = [...ggmlTypes.values()]
  .filter((type) => type.expand !== undefined)
  .map((type) => type.name);

/** Block: float16 scale d, 32 int8 q. Value = d * q. */
function expandQ8_0(bytes: ArrayBuffer): Float32Array {
  const half = halfValues();
  const source = new Uint8Array(bytes);
  const signed = new Int8Array(bytes);
  const target = new Float32Array((source.length / 34) * 32);
  for (let from = 0, to = 0; from < source.length; from += 34, to += 32) {
    const scale = half[(source[from] as number) | ((source[from + 1] as number) << 8)] as number;
    for (let i = 0; i < 32; i++) target[to + i] = scale * (signed[from + 2 + i] as number);
  }
  return target;
}

/** Block: float16 scale d, 16 bytes of two 4-bit q, the low nibbles the first half. Value = d * (q - 8). */
function expandQ4_0(bytes: ArrayBuffer): Float32Array {
  const half = halfValues();
  const source = new Uint8Array(bytes);
  const target = new Float32Array((source.length / 18) * 32);
  for (let from = 0, to = 0; from < source.length; from += 18, to += 32) {
    const scale = half[(source[from] as number) | ((source[from + 1] as number) << 8)] as number;
    for (let i = 0; i < 16; i++) {
      const pair = source[from + 2 + i] as number;
      target[to + i] = scale * ((pair & 15) - 8);
      target[to + 16 + i] = scale * ((pair >> 4) - 8);
    }
  }
  return target;
}

/** Block: float16 scale d, float16 minimum m, 16 bytes of two 4-bit q, the low nibbles the first half. Value = d * q + m. */
function expandQ4_1(bytes: ArrayBuffer): Float32Array {
  const half = halfValues();
  const source = new Uint8Array(bytes);
  const target = new Float32Array((source.length / 20) * 32);
  for (let from = 0, to = 0; from < source.length; from += 20, to += 32) {
    const scale = half[(source[from] as number) | ((source[from + 1] as number) << 8)] as number;
    const minimum = half[(source[from + 2] as number) | ((source[from + 3] as number) << 8)] as number;
    for (let i = 0; i < 16; i++) {
      const pair = source[from + 4 + i] as number;
      target[to + i] = scale * (pair & 15) + minimum;
      target[to + 16 + i] = scale * (pair >> 4) + minimum;
    }
  }
  return target;
}
