import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { sampleCorrelation, sampleRankCorrelation } from 'simple-statistics';
import { describe, expect, test } from 'vitest';
import { bootstrapInterval, pairedBootstrap, resampledSpearman } from '../../src/evaluation/bootstrap.js';
import { pairSimilarities, similarities } from '../../src/evaluation/similarity.js';
import { averageRanks, pearson, quantileOfSorted, spearman } from '../../src/evaluation/statistics.js';
import { randomStream } from '../../src/shared/random.js';

interface Golden {
  correlations: {
    name: string;
    x: number[];
    y: number[];
    pearson: number;
    spearman: number;
    ranksX: number[];
  }[];
  bootstrap: { gold: number[]; similarity: number[]; low: number; high: number };
  similarities: { data: number[]; dimensions: number; first: number[]; second: number[] } & Record<
    (typeof similarities)[number],
    number[]
  >;
}
const golden = JSON.parse(
  readFileSync(new URL('../golden/statistics/statistics.json', import.meta.url), 'utf8'),
) as Golden;

/** Gold and similarity with many ties, as scored pairs are. */
function noisyPairs(
  pairs: number,
  noise: number,
  seed: number,
): { gold: Float64Array; similarity: Float64Array } {
  const random = randomStream(1);
  const noiseOf = randomStream(seed);
  const gold = Float64Array.from({ length: pairs }, () => Math.round(random.uniform() * 25) / 5);
  return { gold, similarity: gold.map((score) => score + noise * noiseOf.normal()) };
}

describe('correlations', () => {
  test.each(golden.correlations)('equal scipy: $name', (c) => {
    expect(pearson(c.x, c.y)).toBeCloseTo(c.pearson, 12);
    expect(spearman(c.x, c.y)).toBeCloseTo(c.spearman, 12);
    expect([...averageRanks(c.x)]).toEqual(c.ranksX);
  });

  test('equal simple-statistics where nothing ties', () => {
    const values = fc.uniqueArray(fc.integer({ min: -10000, max: 10000 }), { minLength: 3, maxLength: 30 });
    const property = fc.property(values, values, (a, b) => {
      const n = Math.min(a.length, b.length);
      const [x, y] = [a.slice(0, n), b.slice(0, n)];
      expect(pearson(x, y)).toBeCloseTo(sampleCorrelation(x, y), 10);
      expect(spearman(x, y)).toBeCloseTo(sampleRankCorrelation(x, y), 10);
    });
    fc.assert(property);
  });

  test('Spearman does not change under a growing function and turns its sign under a falling one', () => {
    const series = fc.array(fc.tuple(fc.integer({ min: -5, max: 5 }), fc.integer({ min: -5, max: 5 })), {
      minLength: 2,
      maxLength: 40,
    });
    const property = fc.property(series, (pairs) => {
      const x = pairs.map(([a]) => a);
      const y = pairs.map(([, b]) => b);
      const value = spearman(x, y);
      fc.pre(!Number.isNaN(value));
      expect(spearman(x.map(Math.exp), y)).toBeCloseTo(value, 12);
      expect(
        spearman(
          x.map((v) => -v),
          y,
        ),
      ).toBeCloseTo(-value, 12);
    });
    fc.assert(property);
  });

  test('are undefined for a constant series, also one whose mean rounds', () => {
    expect(pearson([0.1, 0.1, 0.1], [1, 2, 3])).toBeNaN();
    expect(spearman([1, 2, 3], [7, 7, 7])).toBeNaN();
    expect(pearson([1], [1])).toBeNaN();
  });

  test('refuse NaN and different lengths as bugs of ours', () => {
    expect(() => spearman([1, NaN], [1, 2])).toThrow(/^internal: /);
    expect(() => pearson([1, 2], [1])).toThrow(/^internal: /);
  });

  test('quantiles interpolate as numpy does', () => {
    expect(quantileOfSorted([1, 2, 4, 8], 0.025)).toBeCloseTo(1.075, 12);
    expect(quantileOfSorted([1, 2, 4, 8], 1)).toBe(8);
    expect(quantileOfSorted([], 0.5)).toBeNaN();
  });
});

describe('similarities', () => {
  test('equal scipy', () => {
    const { data, dimensions, first, second } = golden.similarities;
    const matrix = { rows: data.length / dimensions, dimensions, data: Float32Array.from(data) };
    const result = pairSimilarities(matrix, Uint32Array.from(first), Uint32Array.from(second));
    for (const name of similarities) {
      for (const [p, value] of golden.similarities[name].entries())
        expect(result[name][p]).toBeCloseTo(value, 12);
    }
    // Rows 2 and 3 are equal, row 1 is compared with itself.
    expect([result.cosine[1], result.cosine[3]]).toEqual([1, 1]);
  });

  test('the cosine of a zero vector is 0', () => {
    const matrix = { rows: 2, dimensions: 2, data: Float32Array.of(0, 0, 1, 2) };
    expect(pairSimilarities(matrix, Uint32Array.of(0), Uint32Array.of(1)).cosine[0]).toBe(0);
  });
});

describe('bootstrap', () => {
  test('the correlation of a counted resample is that of the resample written out', () => {
    const rows = fc.array(
      fc.record({
        x: fc.integer({ min: 0, max: 4 }),
        y: fc.integer({ min: 0, max: 6 }),
        count: fc.nat({ max: 3 }),
      }),
      { minLength: 1, maxLength: 30 },
    );
    const property = fc.property(rows, (drawn) => {
      const x = Float64Array.from(drawn, (row) => row.x);
      const y = Float64Array.from(drawn, (row) => row.y);
      const counts = Uint32Array.from(drawn, (row) => row.count);
      const written = drawn.flatMap((row) => Array.from({ length: row.count }, () => row));
      const expected = spearman(
        written.map((row) => row.x),
        written.map((row) => row.y),
      );
      const got = resampledSpearman(x, y)(counts);
      if (Number.isNaN(expected)) expect(got).toBeNaN();
      else expect(got).toBeCloseTo(expected, 12);
    });
    fc.assert(property, { numRuns: 300 });
  });

  test('the interval is near the one of scipy.stats.bootstrap', () => {
    const { low, high } = golden.bootstrap;
    const gold = Float64Array.from(golden.bootstrap.gold);
    const similarity = Float64Array.from(golden.bootstrap.similarity);
    const interval = bootstrapInterval([{ name: 'golden', gold, similarity }], { resamples: 1000, seed: 3 });
    expect(Math.abs((interval?.low ?? NaN) - low)).toBeLessThan(0.02);
    expect(Math.abs((interval?.high ?? NaN) - high)).toBeLessThan(0.02);
  });

  test('is a function of the seed', () => {
    const set = { name: 'set', ...noisyPairs(200, 2, 5) };
    const run = (seed: number) => bootstrapInterval([set], { resamples: 200, seed });
    expect(run(1)).toEqual(run(1));
    expect(run(1)).not.toEqual(run(2));
  });

  test('an average over more sets has a narrower interval', () => {
    const set = (name: string, seed: number) => ({ name, ...noisyPairs(300, 3, seed) });
    const width = (sets: ReturnType<typeof set>[]): number => {
      const interval = bootstrapInterval(sets, { resamples: 300, seed: 1 });
      return (interval?.high ?? NaN) - (interval?.low ?? NaN);
    };
    expect(width([set('a', 2), set('b', 3), set('c', 4), set('d', 5)])).toBeLessThan(
      0.75 * width([set('a', 2)]),
    );
  });

  test('is undefined where no resample has a correlation', () => {
    const set = { name: 'flat', gold: Float64Array.of(1, 2, 3), similarity: Float64Array.of(1, 1, 1) };
    expect(bootstrapInterval([set], { resamples: 50, seed: 1 })).toBeUndefined();
    expect(pairedBootstrap([set], [set], { resamples: 50, seed: 1 })).toBeUndefined();
  });
});

describe('paired bootstrap', () => {
  const options = { resamples: 500, seed: 11 };
  const clear = [{ name: 'set', ...noisyPairs(1000, 1, 7) }];
  const noisy = [{ name: 'set', ...noisyPairs(1000, 2, 7) }];

  test('tells a better model from a worse one, in both directions', () => {
    const up = pairedBootstrap(clear, noisy, options);
    const down = pairedBootstrap(noisy, clear, options);
    expect(up?.interval.low).toBeGreaterThan(0);
    expect(up?.pValue).toBeLessThan(0.01);
    expect(down?.difference).toBeCloseTo(-(up?.difference ?? NaN), 12);
    expect(down?.interval.high).toBeCloseTo(-(up?.interval.low ?? NaN), 12);
  });

  test('finds no difference between a model and itself', () => {
    const same = pairedBootstrap(clear, clear, options);
    expect(same).toMatchObject({ difference: 0, pValue: 1, interval: { low: 0, high: 0 } });
  });

  test('is sharper than two separate intervals, because both see the same pairs', () => {
    const { gold, similarity } = noisyPairs(400, 2, 9);
    const random = randomStream(10);
    const a = [{ name: 'set', gold, similarity }];
    const b = [{ name: 'set', gold, similarity: similarity.map((v) => v + 0.05 * random.normal()) }];
    const paired = pairedBootstrap(a, b, options)?.interval;
    const single = bootstrapInterval(a, options);
    const width = (i: { low: number; high: number } | undefined): number =>
      (i?.high ?? NaN) - (i?.low ?? NaN);
    expect(width(paired)).toBeLessThan(0.3 * width(single));
  });

  test('refuses different pairs', () => {
    const other = [{ ...clear[0], name: 'other' }] as typeof clear;
    expect(() => pairedBootstrap(clear, other, options)).toThrow(/same pairs/);
    expect(() => pairedBootstrap([], [], options)).toThrow(/same pairs/);
  });
});
