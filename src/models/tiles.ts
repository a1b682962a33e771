import type { Device } from '../compiler/device.js';
import { intTensor, type HostTensor } from '../compiler/program.js';
import type { Batch, PlacedText } from '../data/batch.js';

/** A few rows of a batch: what goes through a block in one call. Shapes are few, so few programs are compiled. */
export interface Tile {
  /** R of the tile */
  readonly rows: number;
  /** T */
  readonly tokensPerRow: number;
  /** [R, T] int32 each */
  readonly inputIds: HostTensor;
  readonly positions: HostTensor;
  readonly segments: HostTensor;
  /** [R, T] */
  readonly poolMask: Uint8Array;
  /** Texts in these rows; `row` counts within the tile. */
  readonly texts: readonly PlacedText[];
}

/**
 * Cuts batches into tiles of at most `tileTokens` tokens (at least one row) whose row counts are powers of two: 13 rows become
 * 4 + 4 + 4 + 1, so that every row is real and at most log2 shapes are compiled for each T. Small tiles stay in the processor's cache.
 * Another device is given few large tiles, because each takes the weights to it again: 13 rows become 12 + 1.
 */
export function tilesOf(batches: readonly Batch[], tileTokens: number, device: Device = 'cpu'): Tile[] {
  return batches.flatMap((batch) => {
    const most = 2 ** Math.floor(Math.log2(Math.max(1, tileTokens / batch.tokensPerRow)));
    const tiles: Tile[] = [];
    let row = 0;
    while (row < batch.rows) {
      const left = batch.rows - row;
      const rows = Math.min(most, device === 'cpu' ? 2 ** Math.floor(Math.log2(left)) : inFours(left));
      tiles.push(tileOf(batch, row, rows));
      row += rows;
    }
    return tiles;
  });
}

function inFours(rows: number): number {
  return rows < 4 ? rows : 4 * Math.floor(rows / 4);
}

function tileOf(batch: Batch, first: number, count: number): Tile {
  const { rows, tokensPerRow, inputIds, positions, segments, poolMask, texts } = rowsOf(batch, first, count);
  const shape = [rows, tokensPerRow];
  return {
    rows,
    tokensPerRow,
    inputIds: intTensor(inputIds, shape),
    positions: intTensor(positions, shape),
    segments: intTensor(segments, shape),
    poolMask,
    texts,
  };
}

/** A copy of `count` rows of a batch; texts keep their index. */
function rowsOf(batch: Batch, first: number, count: number): Batch {
  const { tokensPerRow } = batch;
  const from = first * tokensPerRow;
  const to = (first + count) * tokensPerRow;
  return {
    rows: count,
    tokensPerRow,
    inputIds: batch.inputIds.slice(from, to),
    positions: batch.positions.slice(from, to),
    segments: batch.segments.slice(from, to),
    poolMask: batch.poolMask.slice(from, to),
    texts: batch.texts
      .filter(({ row }) => row >= first && row < first + count)
      .map((text) => ({ ...text, row: text.row - first })),
  };
}

/** Deals the rows of batches out to `parts` runners, each about the same number of tokens. The same batches are always dealt alike. */
export function dealRows(batches: readonly Batch[], parts: number): Batch[][] {
  const dealt: Batch[][] = Array.from({ length: parts }, () => []);
  const tokens = new Array<number>(parts).fill(0);
  for (const batch of batches) {
    const counts = new Array<number>(parts).fill(Math.floor(batch.rows / parts));
    for (let left = batch.rows % parts; left > 0; left--) {
      const load = counts.map((count, part) => (tokens[part] as number) + count * batch.tokensPerRow);
      const least = load.indexOf(Math.min(...load));
      counts[least] = (counts[least] as number) + 1;
    }
    let first = 0;
    for (const [part, count] of counts.entries()) {
      if (count > 0) dealt[part]?.push(rowsOf(batch, first, count));
      tokens[part] = (tokens[part] as number) + count * batch.tokensPerRow;
      first += count;
    }
  }
  return dealt;
}
