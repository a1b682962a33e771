import { internalError } from '../shared/errors.js';
import type { Batch, PlacedText, TokenizedText } from './batch.js';

/** Rows are this long or, for longer texts, a further doubling: few shapes, so that few graphs are planned and cached. */
const shortestRow = 16;
/** Attention costs as much as all matrix products at rows of this many tokens (11 % at 128: engine.md). */
const attentionParity = 1160;
/** What one more row length costs, in tokens: another shape, another run of every block. */
const costOfLength = 64;

/**
 * Lays texts end to end in rows of T tokens, one batch for each T in use, so that little is blank and a text never spans rows.
 * The plan with the least estimated work wins: blank places and attention over long rows both cost. Deterministic; a row is never
 * longer than `maxTokens` asks for, unless a text is. `texts` of each batch are ordered by index.
 */
export function packTexts(texts: readonly TokenizedText[], options: { readonly maxTokens: number }): Batch[] {
  if (texts.length === 0) return [];
  const lengths = texts.map(({ ids }, i) => {
    if (ids.length === 0) throw internalError(`text ${String(i)} of a batch has no tokens`);
    return ids.length;
  });
  const rows = planRows(lengths, options.maxTokens);
  const perLength = new Map<number, Row[]>();
  for (const row of rows) perLength.set(row.tokens, [...(perLength.get(row.tokens) ?? []), row]);
  return [...perLength.entries()]
    .sort(([a], [b]) => b - a)
    .map(([tokensPerRow, members]) => {
      const placed = members.flatMap((row, r) => {
        let start = 0;
        return row.texts.map((index) => {
          const length = lengths[index] ?? 0;
          start += length;
          return { index, row: r, start: start - length, length };
        });
      });
      return fillBatch(texts, placed, { rows: members.length, tokensPerRow });
    });
}

/** One text per row, as every other toolkit does: T is the longest text's length, or `least`, blanks to the right or to the left. */
export function padTexts(texts: readonly TokenizedText[], side: 'left' | 'right', least = 0): Batch {
  const tokensPerRow = texts.reduce((longest, { ids }) => Math.max(longest, ids.length), least);
  const placed = texts.map(({ ids: { length } }, index) => ({
    index,
    row: index,
    start: side === 'left' ? tokensPerRow - length : 0,
    length,
  }));
  return fillBatch(texts, placed, { rows: texts.length, tokensPerRow });
}

/** Share of places that hold a token, over several batches. */
export function filledShare(batches: readonly Batch[]): number {
  let filled = 0;
  let places = 0;
  for (const batch of batches) {
    places += batch.rows * batch.tokensPerRow;
    for (const { length } of batch.texts) filled += length;
  }
  return places === 0 ? 1 : filled / places;
}

function fillBatch(
  texts: readonly TokenizedText[],
  placed: readonly PlacedText[],
  { rows, tokensPerRow }: { rows: number; tokensPerRow: number },
): Batch {
  const places = rows * tokensPerRow;
  const inputIds = new Int32Array(places);
  const positions = new Int32Array(places);
  const segments = new Int32Array(places);
  const poolMask = new Uint8Array(places);
  for (const { index, row, start, length } of placed) {
    const text = texts[index];
    if (text === undefined) throw internalError(`text ${String(index)} of a batch is missing`);
    const from = row * tokensPerRow + start;
    inputIds.set(text.ids, from);
    poolMask.set(text.pool, from);
    segments.fill(index + 1, from, from + length);
    for (let i = 0; i < length; i++) positions[from + i] = i;
  }
  const ordered = [...placed].sort((a, b) => a.index - b.index);
  return { rows, tokensPerRow, inputIds, positions, segments, poolMask, texts: ordered };
}

interface Row {
  /** T */
  readonly tokens: number;
  readonly texts: number[];
}

/** Tries each shortest row length, and rows with more room than a text needs, and keeps the cheapest plan. */
function planRows(lengths: readonly number[], maxTokens: number): readonly Row[] {
  const descending = lengths.map((_, i) => i).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0) || a - b);
  const longest = bucketOf(lengths[descending[0] ?? 0] ?? 0);
  const limit = Math.max(longest, bucketOf(maxTokens));
  let best: readonly Row[] = [];
  let bestCost = Infinity;
  for (let floor = shortestRow; floor <= limit; floor *= 2) {
    for (const room of [1, 2, 4]) {
      const rows = bestFit(lengths, descending, (length) =>
        Math.max(floor, Math.min(limit, bucketOf(length) * room)),
      );
      const cost = costOf(rows);
      if (cost < bestCost) [best, bestCost] = [rows, cost];
    }
  }
  return best;
}

function bucketOf(length: number): number {
  let tokens = shortestRow;
  while (tokens < length) tokens *= 2;
  return tokens;
}

function costOf(rows: readonly Row[]): number {
  const distinct = new Set<number>();
  let cost = 0;
  for (const { tokens } of rows) {
    distinct.add(tokens);
    cost += tokens * (1 + tokens / attentionParity);
  }
  return cost + distinct.size * costOfLength;
}

/** Longest first, each text into the row whose room it fills best; a new row of `rowLength(text)` where it fits nowhere. */
function bestFit(
  lengths: readonly number[],
  descending: readonly number[],
  rowLength: (length: number) => number,
): Row[] {
  const rows: Row[] = [];
  /** Rows by how many tokens still fit in. */
  const byRoom: Row[][] = [];
  let most = 0;
  for (const index of descending) {
    const length = lengths[index] ?? 0;
    let room = length;
    while (room <= most && (byRoom[room]?.length ?? 0) === 0) room++;
    let row = byRoom[room]?.pop();
    if (row === undefined) {
      room = rowLength(length);
      row = { tokens: room, texts: [] };
      rows.push(row);
    }
    row.texts.push(index);
    const left = room - length;
    (byRoom[left] ??= []).push(row);
    most = Math.max(most, left);
  }
  return rows;
}
