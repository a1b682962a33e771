import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchSampler, longestHeldOrder } from '../../src/data/sampler.js';
import { shuffledIndex } from '../../src/shared/random.js';

describe('BatchSampler', () => {
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
          const sampler = new BatchSampler({ count, batchTexts, seed });
          const met = Array.from({ length: perEpoch }, (_, i) => [...sampler.batch(epoch * perEpoch + i)]);
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
        const samplers = [0, 1, 2, 3].map((seed) => new BatchSampler({ count: 57, batchTexts: 8, seed }));
        const first = asked.map(([seed, step]) => [...samplers[seed]!.batch(step)]);
        const again = [...asked]
          .reverse()
          .map(([seed, step]) => [...new BatchSampler({ count: 57, batchTexts: 8, seed }).batch(step)]);
        expect(again.reverse()).toEqual(first);
      }),
    );
  });

  it('epochs and seeds differ', () => {
    const batch = (seed: number, step: number): number[] => [
      ...new BatchSampler({ count: 1000, batchTexts: 1000, seed }).batch(step),
    ];
    expect(batch(1, 0)).not.toEqual(batch(1, 1));
    expect(batch(1, 0)).not.toEqual(batch(2, 0));
    expect(batch(1, 0).sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  });

  it('no texts, no batch', () => {
    expect([...new BatchSampler({ count: 0, batchTexts: 8, seed: 1 }).batch(3)]).toEqual([]);
  });
});

describe('orders that are not held', () => {
  it('meet every number once, in an order of the seed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.nat(), (n, seed) => {
        const at = shuffledIndex(n, seed);
        const order = Array.from({ length: n }, (_, i) => at(i));
        expect([...order].sort((a, b) => a - b)).toEqual(order.map((_, i) => i));
        expect(order).toEqual(Array.from({ length: n }, (_, i) => shuffledIndex(n, seed)(i)));
      }),
      { numRuns: 50 },
    );
    const at = shuffledIndex(1000, 1);
    const order = Array.from({ length: 1000 }, (_, i) => at(i));
    const moved = order.reduce((sum, number, i) => sum + Math.abs(number - i), 0) / 1000;
    // A third of n is what a random order gives.
    expect(moved).toBeGreaterThan(280);
    expect(moved).toBeLessThan(390);
  });

  it('serve batches of four billion texts', () => {
    const count = 2 ** 32 - 1;
    const sampler = new BatchSampler({ count, batchTexts: 1000, seed: 3 });
    const [a, b] = [0, 1].map((step) => sampler.batch(step));
    const all = new Set([...a!, ...b!]);
    expect(all.size).toBe(2000);
    expect(Math.max(...all)).toBeGreaterThan(2 ** 31);
    expect(longestHeldOrder).toBeLessThan(count);
  });
});
