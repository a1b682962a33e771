import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Batch, TokenizedText } from '../../src/data/batch.js';
import { filledShare, packTexts, padTexts } from '../../src/data/packing.js';
import { randomStream } from '../../src/shared/random.js';

const texts = (most: number, longest: number): fc.Arbitrary<TokenizedText[]> =>
  fc.array(
    fc
      .array(fc.tuple(fc.integer({ min: 1, max: 9999 }), fc.boolean()), { minLength: 1, maxLength: longest })
      .map((tokens) => ({
        ids: Int32Array.from(tokens, ([id]) => id),
        pool: Uint8Array.from(tokens, ([, pooled]) => (pooled ? 1 : 0)),
      })),
    { minLength: 1, maxLength: most },
  );

/** Everything that must hold of any batch: each text once, whole, in order; blanks blank. Returns the indices that were met. */
function checkBatch(batch: Batch, all: readonly TokenizedText[]): number[] {
  const { tokensPerRow, inputIds, positions, segments, poolMask } = batch;
  expect([inputIds, positions, segments, poolMask].map(({ length }) => length)).toEqual(
    Array(4).fill(batch.rows * tokensPerRow),
  );
  let filled = 0;
  for (const { index, row, start, length } of batch.texts) {
    const text = all[index];
    expect(start + length).toBeLessThanOrEqual(tokensPerRow);
    const [from, to] = [row * tokensPerRow + start, row * tokensPerRow + start + length];
    expect(inputIds.slice(from, to)).toEqual(text?.ids);
    expect(poolMask.slice(from, to)).toEqual(text?.pool);
    expect(Array.from(positions.slice(from, to))).toEqual(Array.from({ length }, (_, i) => i));
    expect(segments.slice(from, to).every((segment) => segment === index + 1)).toBe(true);
    filled += length;
  }
  // Every other place is blank; together with the slices above, no two texts overlap.
  expect(segments.filter((segment) => segment !== 0).length).toBe(filled);
  segments.forEach((segment, place) => {
    if (segment === 0) expect([inputIds[place], positions[place], poolMask[place]]).toEqual([0, 0, 0]);
  });
  const indices = batch.texts.map(({ index }) => index);
  expect(indices).toEqual([...indices].sort((a, b) => a - b));
  return indices;
}

describe('packTexts', () => {
  it('places every text once, whole, in order', () => {
    fc.assert(
      fc.property(texts(40, 90), fc.constantFrom(16, 64, 128, 512), (list, maxTokens) => {
        const batches = packTexts(list, { maxTokens });
        const met = batches.flatMap((batch) => checkBatch(batch, list));
        expect(met.sort((a, b) => a - b)).toEqual(list.map((_, i) => i));
        const lengths = batches.map(({ tokensPerRow }) => tokensPerRow);
        expect(new Set(lengths).size).toBe(lengths.length);
        const longest = Math.max(...list.map(({ ids }) => ids.length));
        for (const length of lengths) {
          expect(Number.isInteger(Math.log2(length / 16))).toBe(true);
          expect(length === 16 || length <= Math.max(maxTokens, 2 * longest)).toBe(true);
        }
      }),
      { numRuns: 150 },
    );
  });

  it('is deterministic', () => {
    fc.assert(
      fc.property(texts(20, 70), (list) => {
        expect(packTexts(list, { maxTokens: 128 })).toEqual(packTexts([...list], { maxTokens: 128 }));
      }),
    );
  });

  it.each([64, 128, 256])(
    'fills 95 %% of the places for %i texts of the lengths that sentences have',
    (count) => {
      // Tokens a sentence: log-normal around 21, cut at 128, as in wikisplit, brown and masc.
      for (let seed = 0; seed < 20; seed++) {
        const random = randomStream(seed);
        const list = Array.from({ length: count }, () => {
          const length = Math.min(128, Math.max(2, Math.round(21 * Math.exp(0.65 * random.normal()))));
          return { ids: new Int32Array(length).fill(7), pool: new Uint8Array(length).fill(1) };
        });
        const batches = packTexts(list, { maxTokens: 128 });
        expect(filledShare(batches)).toBeGreaterThan(0.95);
        expect(batches.length).toBeLessThanOrEqual(3);
      }
    },
  );

  it('a longer text than asked for gets a row of its own length, never cut', () => {
    const long = { ids: new Int32Array(3000).fill(1), pool: new Uint8Array(3000) };
    const batches = packTexts([long], { maxTokens: 128 });
    expect(batches.map(({ rows, tokensPerRow }) => [rows, tokensPerRow])).toEqual([[1, 4096]]);
  });

  it('nothing gives nothing; a text without tokens is a bug of ours', () => {
    expect(packTexts([], { maxTokens: 128 })).toEqual([]);
    expect(() =>
      packTexts([{ ids: new Int32Array(0), pool: new Uint8Array(0) }], { maxTokens: 128 }),
    ).toThrow(/^internal: text 0/);
  });
});

describe('padTexts', () => {
  it.each(['left', 'right'] as const)('%s: one text per row, as wide as the longest', (side) => {
    fc.assert(
      fc.property(texts(8, 20), (list) => {
        const batch = padTexts(list, side);
        expect(checkBatch(batch, list)).toEqual(list.map((_, i) => i));
        expect(batch.rows).toBe(list.length);
        expect(batch.tokensPerRow).toBe(Math.max(...list.map(({ ids }) => ids.length)));
        for (const { index, row, start, length } of batch.texts) {
          expect([row, start]).toEqual([index, side === 'left' ? batch.tokensPerRow - length : 0]);
        }
      }),
    );
  });
});
