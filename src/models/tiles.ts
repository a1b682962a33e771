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
 */
export function tilesOf(batches: readonly Batch[], tileTokens: number): Tile[] {
  return batches.flatMap((batch) => {
    const most = 2 ** Math.floor(Math.log2(Math.max(1, tileTokens / batch.tokensPerRow)));
    const tiles: Tile[] = [];
    let row = 0;
    while (row < batch.rows) {
      const rows = Math.min(most, 2 ** Math.floor(Math.log2(batch.rows - row)));
      tiles.push(tileOf(batch, row, rows));
      row += rows;
    }
    return tiles;
  });
}

function tileOf(batch: Batch, first: number, rows: number): Tile {
  const { tokensPerRow } = batch;
  const from = first * tokensPerRow;
  const to = (first + rows) * tokensPerRow;
  const shape = [rows, tokensPerRow];
  return {
    rows,
    tokensPerRow,
    inputIds: intTensor(batch.inputIds.slice(from, to), shape),
    positions: intTensor(batch.positions.slice(from, to), shape),
    segments: intTensor(batch.segments.slice(from, to), shape),
    poolMask: batch.poolMask.slice(from, to),
    texts: batch.texts
      .filter(({ row }) => row >= first && row < first + rows)
      .map((text) => ({ ...text, row: text.row - first })),
  };
}
