import {
  expandIQ4_NL,
  expandIQ4_XS,
  expandQ4_0,
  expandQ4_1,
  expandQ5_0,
  expandQ5_1,
  expandQ8_0,
} from './ggml-blocks.js';
import { brainToFloat, halfToFloat } from './half.js';
import { expandQ2_K, expandQ3_K, expandQ4_K, expandQ5_K, expandQ6_K } from './k-quants.js';

/** How a GGML type lies in the file: blocks of `blockSize` values in `blockBytes` bytes. */
export interface GgmlType {
  readonly name: string;
  readonly blockSize: number;
  readonly blockBytes: number;
  /** Expands whole blocks, as many as `target` holds; missing where the type is known but cannot be read. */
  readonly expand?: (source: Uint8Array, target: Float32Array) => void;
}

/** Types by their number in the file (ggml.h, enum ggml_type). */
export const ggmlTypes: ReadonlyMap<number, GgmlType> = new Map<number, GgmlType>([
  [0, { name: 'F32', blockSize: 1, blockBytes: 4, expand: copyFloats }],
  [1, { name: 'F16', blockSize: 1, blockBytes: 2, expand: expandHalf }],
  [2, { name: 'Q4_0', blockSize: 32, blockBytes: 18, expand: expandQ4_0 }],
  [3, { name: 'Q4_1', blockSize: 32, blockBytes: 20, expand: expandQ4_1 }],
  [6, { name: 'Q5_0', blockSize: 32, blockBytes: 22, expand: expandQ5_0 }],
  [7, { name: 'Q5_1', blockSize: 32, blockBytes: 24, expand: expandQ5_1 }],
  [8, { name: 'Q8_0', blockSize: 32, blockBytes: 34, expand: expandQ8_0 }],
  [9, { name: 'Q8_1', blockSize: 32, blockBytes: 40 }],
  [10, { name: 'Q2_K', blockSize: 256, blockBytes: 84, expand: expandQ2_K }],
  [11, { name: 'Q3_K', blockSize: 256, blockBytes: 110, expand: expandQ3_K }],
  [12, { name: 'Q4_K', blockSize: 256, blockBytes: 144, expand: expandQ4_K }],
  [13, { name: 'Q5_K', blockSize: 256, blockBytes: 176, expand: expandQ5_K }],
  [14, { name: 'Q6_K', blockSize: 256, blockBytes: 210, expand: expandQ6_K }],
  [15, { name: 'Q8_K', blockSize: 256, blockBytes: 292 }],
  [16, { name: 'IQ2_XXS', blockSize: 256, blockBytes: 66 }],
  [17, { name: 'IQ2_XS', blockSize: 256, blockBytes: 74 }],
  [18, { name: 'IQ3_XXS', blockSize: 256, blockBytes: 98 }],
  [19, { name: 'IQ1_S', blockSize: 256, blockBytes: 50 }],
  [20, { name: 'IQ4_NL', blockSize: 32, blockBytes: 18, expand: expandIQ4_NL }],
  [21, { name: 'IQ3_S', blockSize: 256, blockBytes: 110 }],
  [22, { name: 'IQ2_S', blockSize: 256, blockBytes: 82 }],
  [23, { name: 'IQ4_XS', blockSize: 256, blockBytes: 136, expand: expandIQ4_XS }],
  [24, { name: 'I8', blockSize: 1, blockBytes: 1 }],
  [25, { name: 'I16', blockSize: 1, blockBytes: 2 }],
  [26, { name: 'I32', blockSize: 1, blockBytes: 4 }],
  [27, { name: 'I64', blockSize: 1, blockBytes: 8 }],
  [28, { name: 'F64', blockSize: 1, blockBytes: 8 }],
  [29, { name: 'IQ1_M', blockSize: 256, blockBytes: 56 }],
  [30, { name: 'BF16', blockSize: 1, blockBytes: 2, expand: expandBrain }],
  [34, { name: 'TQ1_0', blockSize: 256, blockBytes: 54 }],
  [35, { name: 'TQ2_0', blockSize: 256, blockBytes: 66 }],
  [39, { name: 'MXFP4', blockSize: 32, blockBytes: 17 }],
]);

/** The same types by name: safetensors calls its float types the same. */
export const storageTypes: ReadonlyMap<string, GgmlType> = new Map(
  [...ggmlTypes.values()].map((type) => [type.name, type]),
);

function copyFloats(source: Uint8Array, target: Float32Array): void {
  target.set(new Float32Array(source.buffer, source.byteOffset, source.length / 4));
}

function expandHalf(source: Uint8Array, target: Float32Array): void {
  halfToFloat(new Uint16Array(source.buffer, source.byteOffset, source.length / 2), target);
}

function expandBrain(source: Uint8Array, target: Float32Array): void {
  brainToFloat(new Uint16Array(source.buffer, source.byteOffset, source.length / 2), target);
}

/** The types that can be read, for error messages. */
export const readableTypes = [...ggmlTypes.values()]
  .filter((type) => type.expand !== undefined)
  .map((type) => type.name);
