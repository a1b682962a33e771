import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { batchIndices } from '../../src/data/sampler.js';

describe('batchIndices', () => {
  it('an epoch meets each text at most once and leaves out less than a batch', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(),
        fc.nat(5),
        (count, batchTexts, seed, epoch) => {
          const size = Math.min(count, batchTexts);
          const perEpoch = Math.floor(count / size);
          const met = Array.from({ length: perEpoch }, (_, i) => [
            ...batchIndices({ count, batchTexts, seed, step: epoch * perEpoch + i }),
          ]);
          expect(met.every((batch) => batch.length === size)).toBe(true);
          const all = met.flat();
          expect(new Set(all).size).toBe(all.length);
          expect(all.every((index) => index >= 0 && index < count)).toBe(true);
          expect(count - all.length).toBeLessThan(size);
        },
      ),
    );
  });

  it('depends on seed and step alone, whatever was asked before', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(300)), { minLength: 2, maxLength: 20 }), (asked) => {
        const first = asked.map(([seed, step]) => [
          ...batchIndices({ count: 57, batchTexts: 8, seed, step }),
        ]);
        const again = [...asked]
          .reverse()
          .map(([seed, step]) => [...batchIndices({ count: 57, batchTexts: 8, seed, step })]);
        expect(again.reverse()).toEqual(first);
      }),
    );
  });

  it('epochs and seeds differ', () => {
    const batch = (seed: number, step: number): number[] => [
      ...batchIndices({ count: 1000, batchTexts: 1000, seed, step }),
    ];
    expect(batch(1, 0)).not.toEqual(batch(1, 1));
    expect(batch(1, 0)).not.toEqual(batch(2, 0));
    expect(batch(1, 0).sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  });

  it('no texts, no batch', () => {
    expect([...batchIndices({ count: 0, batchTexts: 8, seed: 1, step: 3 })]).toEqual([]);
  });
});
