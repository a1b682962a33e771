import type { EmbeddingMatrix } from '../evaluation/encoder.js';
import { internalError, userError } from '../shared/errors.js';

/** Sentence-transformers' words for what the numbers of a vector are. */
export const precisions = ['float32', 'int8', 'uint8', 'binary', 'ubinary'] as const;
export type Precision = (typeof precisions)[number];

/** Vectors of another precision, row-major: `width` whole numbers a vector. */
export interface QuantisedMatrix {
  readonly rows: number;
  readonly width: number;
  readonly data: Float32Array | Int8Array | Uint8Array;
}

/** Least and greatest value of each number of the vectors, [E] each: what the 256 steps of int8 are laid between. */
export interface QuantisationRanges {
  readonly least: Float32Array;
  readonly greatest: Float32Array;
}

/** Whether a precision needs ranges, which have to be measured before. */
export function needsRanges(precision: Precision): boolean {
  return precision === 'int8' || precision === 'uint8';
}

/** The ranges of vectors [N, E]. */
export function rangesOf({ rows, dimensions, data }: EmbeddingMatrix): QuantisationRanges {
  const least = new Float32Array(dimensions).fill(Infinity);
  const greatest = new Float32Array(dimensions).fill(-Infinity);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < dimensions; i++) {
      const value = data[row * dimensions + i] as number;
      least[i] = Math.min(least[i] as number, value);
      greatest[i] = Math.max(greatest[i] as number, value);
    }
  return { least, greatest };
}

/**
 * Vectors [N, E] in another precision, as sentence-transformers' `quantize_embeddings` has them:
 * uint8 floor((x - least) / step), between 0 and 255, step = (greatest - least) / 255; int8 the same - 128; ubinary one bit for each number,
 * 1 where it is above 0, the first in the highest bit, the last byte filled up with zeros; binary the same bytes - 128.
 * @throws UserError where ranges are needed and none are given, or they are of vectors of another length
 */
export function quantise(
  matrix: EmbeddingMatrix,
  precision: Precision,
  ranges?: QuantisationRanges,
): QuantisedMatrix {
  const { rows, dimensions, data } = matrix;
  switch (precision) {
    case 'float32':
      return { rows, width: dimensions, data };
    case 'int8':
    case 'uint8':
      return { rows, width: dimensions, data: stepped(matrix, precision, fitting(ranges, dimensions)) };
    case 'binary':
    case 'ubinary': {
      const bytes = bits(matrix);
      const signed = precision === 'binary' ? Int8Array.from(bytes, (byte) => byte - 128) : bytes;
      return { rows, width: Math.ceil(dimensions / 8), data: signed };
    }
  }
}

function fitting(ranges: QuantisationRanges | undefined, dimensions: number): QuantisationRanges {
  if (ranges === undefined)
    throw userError({
      what: 'int8 vectors need the ranges of the numbers',
      expected: 'ranges measured on your texts, so that a vector does not depend on its neighbours',
      hint: 'lmvec calibrate --ranges --texts FILE --output ranges.npy, then --ranges ranges.npy',
    });
  if (ranges.least.length === dimensions) return ranges;
  throw userError({
    what: 'the ranges are of vectors of another length',
    where: 'ranges',
    got: `${ranges.least.length} numbers`,
    expected: String(dimensions),
  });
}

/** In float32, as NumPy does it: a value at the edge of a step must fall on the same side. */
function stepped(
  { dimensions, data }: EmbeddingMatrix,
  precision: 'int8' | 'uint8',
  { least, greatest }: QuantisationRanges,
): Int8Array | Uint8Array {
  const steps = least.map((start, i) => {
    const step = Math.fround(Math.fround((greatest[i] as number) - start) / 255);
    return step === 0 ? 1 : step;
  });
  const shift = precision === 'int8' ? -128 : 0;
  const result = precision === 'int8' ? new Int8Array(data.length) : new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const column = i % dimensions;
    const above = Math.fround((data[i] as number) - (least[column] as number));
    const place = Math.floor(Math.fround(above / (steps[column] as number)));
    result[i] = Math.min(255, Math.max(0, place)) + shift;
  }
  return result;
}

function bits({ rows, dimensions, data }: EmbeddingMatrix): Uint8Array {
  const width = Math.ceil(dimensions / 8);
  const bytes = new Uint8Array(rows * width);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < dimensions; i++)
      if ((data[row * dimensions + i] as number) > 0) {
        const at = row * width + (i >> 3);
        bytes[at] = (bytes[at] as number) | (128 >> (i & 7));
      }
  return bytes;
}

/** Quantised vectors as numbers to compare: int8 as they are, bits as 0 and 1 (as sentence-transformers evaluates them). */
export function comparable(matrix: QuantisedMatrix, precision: Precision): EmbeddingMatrix {
  const { rows, width, data } = matrix;
  if (precision !== 'binary' && precision !== 'ubinary')
    return { rows, dimensions: width, data: Float32Array.from(data) };
  const shift = precision === 'binary' ? 128 : 0;
  const unpacked = new Float32Array(data.length * 8);
  data.forEach((value, at) => {
    for (let bit = 0; bit < 8; bit++) unpacked[8 * at + bit] = ((value + shift) >> (7 - bit)) & 1;
  });
  return { rows, dimensions: width * 8, data: unpacked };
}

/** A NumPy file of ranges, [2, E] float32: what `quantize_embeddings(ranges=...)` of sentence-transformers takes. */
export function rangesFile({ least, greatest }: QuantisationRanges): Buffer {
  if (least.length !== greatest.length) throw internalError('ranges of two lengths');
  const header = npyHeader('<f4', 2, least.length);
  const body = Buffer.alloc(8 * least.length);
  [...least, ...greatest].forEach((value, i) => body.writeFloatLE(value, 4 * i));
  return Buffer.concat([header, body]);
}

/** The ranges in a NumPy file. @throws UserError where it is no such file */
export function readRanges(bytes: Buffer, where: string): QuantisationRanges {
  const length = bytes.length >= 10 ? bytes.readUInt16LE(8) : 0;
  const header = bytes.subarray(10, 10 + length).toString('latin1');
  const shape = /'descr': '<f4', 'fortran_order': False, 'shape': \(2, (\d{1,8})\)/.exec(header);
  const width = Number(shape?.[1] ?? 0);
  const magic = bytes.subarray(0, 8).equals(Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]));
  const values =
    magic && bytes.length === 10 + length + 8 * width
      ? Float32Array.from({ length: 2 * width }, (_, i) => bytes.readFloatLE(10 + length + 4 * i))
      : new Float32Array(0);
  const least = values.subarray(0, width);
  const greatest = values.subarray(width);
  if (
    values.length > 0 &&
    values.every(Number.isFinite) &&
    least.every((value, i) => value <= (greatest[i] as number))
  )
    return { least, greatest };
  throw userError({
    what: 'not a file of ranges',
    where,
    expected: 'an .npy file of [2, dimensions] float32: least values, then greatest',
    hint: 'lmvec calibrate --ranges makes one',
  });
}

/** NumPy's header, format 1.0, of an array [rows, columns]; the data begins at a multiple of 64 bytes. */
export function npyHeader(type: '<f4' | '|i1' | '|u1', rows: number, columns: number): Buffer {
  const description = `{'descr': '${type}', 'fortran_order': False, 'shape': (${rows}, ${columns}), }`;
  // Magic, version and length take 10, the line feed 1.
  const padding = (64 - ((10 + description.length + 1) % 64)) % 64;
  const body = Buffer.from(`${description}${' '.repeat(padding)}\n`, 'latin1');
  const start = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 0, 0]);
  start.writeUInt16LE(body.length, 8);
  return Buffer.concat([start, body]);
}
