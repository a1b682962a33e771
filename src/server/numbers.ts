import { littleEndian } from '../embedder/vectors.js';

/** Vectors as an answer holds them. */
export type VectorEncoding = 'float' | 'base64';

/** Numbers that give back the same float32 (9 significant digits), or little-endian float32 in base64. */
export function encoded(row: Float32Array, encoding: VectorEncoding): number[] | string {
  if (encoding === 'float') return Array.from(row, (value) => Number(value.toPrecision(9)));
  return littleEndian(row).toString('base64');
}
