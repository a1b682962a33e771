import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DropoutFiller, type DropoutKey } from '../../src/models/dropout.js';

const KEY: DropoutKey = { seed: 1, step: 2, site: 3, layer: 4, text: 5 };

const fillers = new Map<number, DropoutFiller>();
function fillerOf(p: number): DropoutFiller {
  const filler = fillers.get(p) ?? new DropoutFiller(p);
  fillers.set(p, filler);
  return filler;
}

function maskOf(p: number, key: DropoutKey, length: number): Uint8Array {
  const mask = new Uint8Array(length).fill(1);
  fillerOf(p).drop(mask, key, { start: 0, stride: 0, length, count: 1 });
  return mask;
}

const dropped = (mask: Uint8Array): number => mask.reduce((sum, keep) => sum + 1 - keep, 0);
/** Six standard deviations of a binomial. */
const bound = (n: number, p: number): number => 6 * Math.sqrt(n * p * (1 - p)) + 1;

const keys = fc.record({
  seed: fc.nat(0xffffffff),
  step: fc.nat(1e6),
  site: fc.nat(0xffffffff),
  layer: fc.nat(80),
  text: fc.nat(1e5),
});

describe('dropout', () => {
  it.each([0.01, 0.05, 0.1, 0.3, 0.5, 0.9])('drops a share of %d, so that kept / (1 - p) has mean 1', (p) => {
    const n = 400_000;
    const mask = maskOf(p, KEY, n);
    expect(Math.abs(dropped(mask) - p * n)).toBeLessThan(bound(n, p));
    // And evenly along the text, from its very first element on.
    for (let first = 0; first < n; first += n / 8) {
      const part = mask.subarray(first, first + n / 8);
      expect(Math.abs(dropped(part) - (p * n) / 8)).toBeLessThan(bound(n / 8, p));
    }
    const firsts = Array.from({ length: 20_000 }, (_, text) => maskOf(p, { ...KEY, text }, 1)[0]!);
    expect(Math.abs(dropped(Uint8Array.from(firsts)) - p * firsts.length)).toBeLessThan(
      bound(firsts.length, p),
    );
  });

  it.each([0.1, 0.3])('neighbours are dropped independently, %d', (p) => {
    const mask = maskOf(p, KEY, 400_000);
    for (const distance of [1, 2, 3, 64]) {
      let both = 0;
      for (let i = distance; i < mask.length; i++) both += (1 - mask[i]!) * (1 - mask[i - distance]!);
      expect(Math.abs(both - p * p * mask.length)).toBeLessThan(2 * bound(mask.length, p * p));
    }
  });

  it('is a function of its key, and each part of the key matters', () => {
    fc.assert(
      fc.property(
        keys,
        fc.constantFrom('seed', 'step', 'site', 'layer', 'text'),
        fc.integer({ min: 1, max: 5 }),
        (key, part, by) => {
          const n = 4000;
          const mask = maskOf(0.3, key, n);
          expect(maskOf(0.3, key, n)).toEqual(mask);
          const other = maskOf(0.3, { ...key, [part]: key[part] + by }, n);
          let both = 0;
          for (let i = 0; i < n; i++) both += (1 - mask[i]!) * (1 - other[i]!);
          // Independent masks share 9 % of their dropped places; equal ones 30 %.
          expect(Math.abs(both - 0.09 * n)).toBeLessThan(bound(n, 0.09));
        },
      ),
      { seed: 7, numRuns: 300 },
    );
  });

  it('the two views of a text, its layers and steps: no two masks of a stage are equal', () => {
    const seen = new Set<string>();
    let count = 0;
    for (let step = 0; step < 4; step++)
      for (let layer = 0; layer < 4; layer++)
        for (let site = 0; site < 4; site++)
          for (let text = 0; text < 16; text++, count++)
            seen.add(maskOf(0.3, { seed: 1, step, site, layer, text }, 256).join(''));
    expect(seen.size).toBe(count);
  });

  it('where the runs of a text lie changes nothing, and nothing outside them is touched', () => {
    fc.assert(
      fc.property(
        keys,
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 12 }),
        fc.nat(20),
        fc.nat(20),
        (key, length, count, start, gap) => {
          const filler = fillerOf(0.4);
          const compact = new Uint8Array(length * count).fill(1);
          filler.drop(compact, key, { start: 0, stride: length, length, count });
          const stride = length + gap;
          const wide = new Uint8Array(start + stride * count + 30).fill(1);
          filler.drop(wide, key, { start, stride, length, count });
          for (let run = 0; run < count; run++) {
            const at = start + run * stride;
            expect(wide.subarray(at, at + length)).toEqual(
              compact.subarray(run * length, (run + 1) * length),
            );
            wide.fill(1, at, at + length);
          }
          expect(wide.every((keep) => keep === 1)).toBe(true);
        },
      ),
      { seed: 8, numRuns: 200 },
    );
  });
});
