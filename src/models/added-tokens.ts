import { findAddedTokens, withAddedTokens, type AddedTokens } from '../data/added-tokens.js';
import { internalError } from '../shared/errors.js';
import { hashKey, hashString, randomStream } from '../shared/random.js';
import type { Decoder } from './decoder.js';
import { expandRange, isPacked, piecesOf, type Weight } from './resident.js';

/** The added tokens' rows [t, width] among trained parameters: part of the table's own memory. */
export const ADDED_ROWS = 'added_tokens.weight';

/** New rows are the mean of the tokenizer's, and normal numbers of this share of each number's deviation. */
const NOISE = 0.1;

/**
 * A decoder whose tokenizer knows these special tokens. Their rows are the next of the embedding table; a table without free rows grows, and
 * the head with it, as transformers' `resize_token_embeddings` does.
 *
 * @param rows [t, width]; left out: those that a tokenizer with these tokens has, or new ones, by `seed`
 * @throws UserError where the tokenizer cannot take them
 */
export function decoderWithTokens(
  decoder: Decoder,
  names: readonly string[],
  { rows, seed = 0 }: { readonly rows?: Float32Array; readonly seed?: number },
): Decoder {
  const known = findAddedTokens(decoder.tokenizer, names);
  const { tokenizer, tokens } =
    known === undefined
      ? withAddedTokens(decoder.tokenizer, names)
      : { tokenizer: decoder.tokenizer, tokens: known };
  const { config } = decoder;
  const { weight: name, width } = config.embedding;
  const table = weightOf(decoder, name);
  const values =
    rows ?? (known === undefined ? freshRows(table, { width, tokens, seed }) : rowsOf(table, tokens, width));
  const vocabulary = Math.max(config.vocab_size, tokens.first + tokens.count);
  const weights = new Map(decoder.weights);
  const shapes = new Map(decoder.shapes);
  weights.set(name, withRows(table, { rows: vocabulary, width, first: tokens.first, values }));
  shapes.set(name, [vocabulary, width]);
  const { head } = config.output;
  const own = head === undefined ? undefined : weights.get(head);
  if (head !== undefined && own !== undefined) {
    const columns = config.output.width;
    shapes.set(head, [vocabulary, columns]);
    weights.set(head, grown(own, { rows: vocabulary, width: columns }));
  }
  return {
    ...decoder,
    config: { ...config, vocab_size: vocabulary, embedding: { ...config.embedding, added: tokens } },
    rawConfig: { ...decoder.rawConfig, vocab_size: vocabulary },
    weights,
    shapes,
    tokenizer,
  };
}

/** Name and shape of the rows of so many tokens. */
export function addedShape(
  { config }: Pick<Decoder, 'config'>,
  names: readonly string[],
): Map<string, readonly number[]> {
  return new Map([[ADDED_ROWS, [names.length, config.embedding.width]]]);
}

/** The rows of a decoder's added tokens, [t, width]: a view of the table, so that who trains them trains the table. */
export function addedRows({ config, weights }: Pick<Decoder, 'config' | 'weights'>): Float32Array {
  const { added, weight, width } = config.embedding;
  const table = weights.get(weight);
  if (added === undefined || table === undefined) throw internalError('a decoder without added tokens');
  if (!isPacked(table)) return table.subarray(added.first * width, (added.first + added.count) * width);
  if (table.replaced === undefined) throw internalError('added tokens of a packed table without rows');
  return table.replaced.values;
}

function weightOf({ weights }: Decoder, name: string): Weight {
  const weight = weights.get(name);
  if (weight === undefined) throw internalError(`no weight ${name}`);
  return weight;
}

function rowsOf(table: Weight, { first, count }: AddedTokens, width: number): Float32Array {
  if (!isPacked(table)) return table.slice(first * width, (first + count) * width);
  const values = new Float32Array(count * width);
  expandRange(table, first * width, values);
  return values;
}

/** The table with `values` from row `first` on: in its own memory where there is room. */
function withRows(
  table: Weight,
  {
    rows,
    width,
    first,
    values,
  }: {
    readonly rows: number;
    readonly width: number;
    readonly first: number;
    readonly values: Float32Array;
  },
): Weight {
  const length = rows * width;
  if (isPacked(table)) return { ...table, length, replaced: { from: first * width, values } };
  const whole = table.length === length ? table : new Float32Array(length);
  if (whole !== table) whole.set(table);
  whole.set(values, first * width);
  return whole;
}

/** A head that predicts the new tokens as it does an average one. */
function grown(head: Weight, { rows, width }: { readonly rows: number; readonly width: number }): Weight {
  const old = head.length / width;
  if (old === rows) return head;
  const { mean } = columnStatistics(head, width, old);
  const values = new Float32Array((rows - old) * width);
  for (let i = 0; i < values.length; i++) values[i] = mean[i % width] as number;
  return withRows(head, { rows, width, first: old, values });
}

function freshRows(
  table: Weight,
  {
    width,
    tokens: { first, count },
    seed,
  }: { readonly width: number; readonly tokens: AddedTokens; readonly seed: number },
): Float32Array {
  // Rows behind the tokenizer's own are padding.
  const { mean, deviation } = columnStatistics(table, width, Math.min(first, table.length / width));
  const random = randomStream(hashKey(seed, hashString(ADDED_ROWS)));
  return Float32Array.from(
    { length: count * width },
    (_, i) => (mean[i % width] as number) + NOISE * (deviation[i % width] as number) * random.normal(),
  );
}

/** Mean and deviation of each column over the first `rows` rows. */
function columnStatistics(
  table: Weight,
  width: number,
  rows: number,
): { readonly mean: Float64Array; readonly deviation: Float64Array } {
  const sum = new Float64Array(width);
  const squares = new Float64Array(width);
  const end = rows * width;
  let place = 0;
  for (const piece of piecesOf(table)) {
    const length = Math.min(piece.length, end - place);
    for (let i = 0, column = place % width; i < length; i++) {
      const value = piece[i] as number;
      sum[column] = (sum[column] as number) + value;
      squares[column] = (squares[column] as number) + value * value;
      column = column + 1 === width ? 0 : column + 1;
    }
    place += length;
    if (place >= end) break;
  }
  const mean = sum.map((value) => value / rows);
  const deviation = squares.map((value, i) =>
    Math.sqrt(Math.max(0, value / rows - (mean[i] as number) ** 2)),
  );
  return { mean, deviation };
}
