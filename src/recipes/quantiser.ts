import { readFile } from 'node:fs/promises';
import {
  needsRanges,
  quantise,
  readRanges,
  type Precision,
  type QuantisedMatrix,
} from '../embedder/quantise.js';
import type { EmbeddingMatrix } from '../evaluation/encoder.js';
import { userError } from '../shared/errors.js';
import { statOrUserError } from '../shared/files.js';

export interface QuantiseOptions {
  /** What the numbers of a vector are (default float32). */
  readonly precision?: Precision;
  /** An .npy file of ranges, for int8 and uint8: `lmvec calibrate --ranges`. */
  readonly ranges?: string;
}

/** Turns vectors into those of a precision. */
export interface Quantiser {
  readonly precision: Precision;
  quantise(vectors: EmbeddingMatrix): QuantisedMatrix;
}

/** float32: vectors as they are. */
export const plainVectors: Quantiser = {
  precision: 'float32',
  quantise: (vectors) => quantise(vectors, 'float32'),
};

/** Reads what a precision needs. @throws UserError */
export async function openQuantiser({ precision = 'float32', ranges }: QuantiseOptions): Promise<Quantiser> {
  const path = ranges;
  if (path !== undefined && !needsRanges(precision))
    throw userError({
      what: 'ranges are of int8 and uint8 vectors only',
      where: '--ranges',
      got: `precision ${precision}`,
    });
  if (path === undefined) {
    // Says early what is missing: nothing is embedded for nothing.
    quantise({ rows: 0, dimensions: 0, data: new Float32Array(0) }, precision);
    return { precision, quantise: (vectors) => quantise(vectors, precision) };
  }
  await statOrUserError(path, 'ranges');
  const measured = readRanges(await readFile(path), path);
  return { precision, quantise: (vectors) => quantise(vectors, precision, measured) };
}
