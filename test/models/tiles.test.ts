import { describe, expect, it } from 'vitest';
import { padTexts } from '../../src/data/packing.js';
import { tilesOf } from '../../src/models/tiles.js';

const text = { ids: Int32Array.of(5, 6), pool: Uint8Array.of(1, 1) };
const batch = (rows: number) => padTexts(new Array(rows).fill(text), 'right');
const rowsOf = (...given: Parameters<typeof tilesOf>) => tilesOf(...given).map(({ rows }) => rows);

describe('tiles', () => {
  it('are powers of two on the CPU, and few on other devices', () => {
    expect(rowsOf([batch(13)], 8)).toEqual([4, 4, 4, 1]);
    expect(rowsOf([batch(13)], 64, 'cuda')).toEqual([12, 1]);
    expect(rowsOf([batch(3)], 64, 'webgpu')).toEqual([3]);
    expect(rowsOf([batch(21)], 16, 'cuda')).toEqual([8, 8, 4, 1]);
  });

  it('hold every row once, in order', () => {
    for (const device of ['cpu', 'cuda'] as const) {
      const tiles = tilesOf([batch(11)], 8, device);
      const texts = tiles.flatMap((tile) => tile.texts.map(({ index }) => index));
      expect(texts).toEqual(Array.from({ length: 11 }, (_, i) => i));
    }
  });
});
