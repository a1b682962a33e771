import { readFile } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { once } from 'node:events';
import { parseSentences } from '../embedder/sentences.js';
import { vectorFormatOf, vectorHeader, vectorRows, type VectorFormat } from '../embedder/vectors.js';
import type { Encode } from '../evaluation/encoder.js';
import { statOrUserError, writeAtomic } from '../shared/files.js';
import { openModel, type ModelOptions } from './open-model.js';
import { openQuantiser, plainVectors, type QuantiseOptions, type Quantiser } from './quantiser.js';

export interface EmbedOptions extends ModelOptions, QuantiseOptions {
  /** A file with one text a line; `-`: standard input. */
  readonly input: string;
  /** A .jsonl or .npy file; `-`: standard output. */
  readonly output: string;
  /** Default: what the name of `output` asks for. */
  readonly format?: VectorFormat;
  readonly onProgress?: (done: number, texts: number) => void;
}

/** Texts that are embedded and written together: bounds the memory, and is enough to pack rows full. */
const group = 4096;

/** Embeds the lines of a file; the file with the vectors is written whole or not at all. @returns the number of texts. */
export async function embed(options: EmbedOptions): Promise<number> {
  const format = options.format ?? vectorFormatOf(options.output);
  const quantised = await openQuantiser(options);
  const texts = await readTexts(options.input);
  const model = await openModel({ ...options, probe: false });
  try {
    const write = (to: (bytes: Buffer) => Promise<void>): Promise<void> =>
      writeVectors({
        ...options,
        texts,
        encode: model.encode,
        quantised,
        format,
        to,
      });
    if (options.output === '-') await write((bytes) => writeTo(process.stdout, bytes));
    else await writeAtomic(options.output, (file) => write(async (bytes) => file.writeFile(bytes)));
    return texts.length;
  } finally {
    await model.close();
  }
}

async function readTexts(input: string): Promise<string[]> {
  if (input === '-') return parseSentences(await buffer(process.stdin), 'standard input');
  await statOrUserError(input, 'input');
  return parseSentences(await readFile(input), input);
}

/** Encodes group by group and hands the bytes on in order. */
export async function writeVectors(options: {
  readonly texts: readonly string[];
  readonly encode: Encode;
  readonly format: VectorFormat;
  /** Default: float32. */
  readonly quantised?: Quantiser;
  readonly to: (bytes: Buffer) => Promise<void>;
  readonly onProgress?: (done: number, texts: number) => void;
}): Promise<void> {
  const { texts, encode, format, to, onProgress, quantised = plainVectors } = options;
  for (let start = 0; start < texts.length; start += group) {
    const { rows, width, data } = quantised.quantise(await encode(texts.slice(start, start + group)));
    if (start === 0) await to(vectorHeader(format, texts.length, width, quantised.precision));
    await to(vectorRows(format, data, width));
    onProgress?.(start + rows, texts.length);
  }
}

async function writeTo(stream: Writable, bytes: Buffer): Promise<void> {
  if (!stream.write(bytes)) await once(stream, 'drain');
}
