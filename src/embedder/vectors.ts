import { extname } from 'node:path';
import { userError } from '../shared/errors.js';
import { npyHeader, type Precision, type QuantisedMatrix } from './quantise.js';

/** How vectors are written: one JSON array of numbers a line, or NumPy's array file. */
export const vectorFormats = ['jsonl', 'npy'] as const;
export type VectorFormat = (typeof vectorFormats)[number];

/**
 * The format that a file's name asks for; JSON lines where it has no ending (`-`, `/dev/stdout`).
 * @throws UserError where the ending is another format's
 */
export function vectorFormatOf(path: string): VectorFormat {
  const ending = extname(path);
  if (ending === '.npy') return 'npy';
  if (['', '.jsonl', '.ndjson'].includes(ending)) return 'jsonl';
  throw userError({
    what: 'vectors are not written in this format',
    where: path,
    got: `a name that ends in ${ending}`,
    expected: '.jsonl or .npy',
    hint: 'or name the format with --format',
  });
}

/** What comes before the rows of `rows` x `width` numbers: nothing for JSON lines, NumPy's header (format 1.0) for npy. */
export function vectorHeader(
  format: VectorFormat,
  rows: number,
  width: number,
  precision: Precision = 'float32',
): Buffer {
  if (format === 'jsonl') return Buffer.alloc(0);
  return npyHeader(typeOf[precision], rows, width);
}

const typeOf = { float32: '<f4', int8: '|i1', uint8: '|u1', binary: '|i1', ubinary: '|u1' } as const;

/** Rows of row-major values. JSON numbers of float32 have 9 significant digits, which give back the same float32. */
export function vectorRows(format: VectorFormat, data: QuantisedMatrix['data'], width: number): Buffer {
  if (format === 'npy') return data instanceof Float32Array ? littleEndian(data) : Buffer.from(data);
  let text = '';
  for (let start = 0; start < data.length; start += width) {
    const numbers = Array.from(data.subarray(start, start + width), (value) => Number(value.toPrecision(9)));
    text += `[${numbers.join(',')}]\n`;
  }
  return Buffer.from(text, 'latin1');
}

/** float32 numbers as bytes, on any machine. */
export function littleEndian(data: Float32Array): Buffer {
  const bytes = Buffer.alloc(data.length * 4);
  data.forEach((value, i) => bytes.writeFloatLE(value, i * 4));
  return bytes;
}
