import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { softCosines } from '../../src/evaluation/soft-cosine.js';
import { evaluateInputEmbeddings } from '../../src/recipes/soft-cosine.js';

interface Golden {
  readonly vectors: readonly (readonly number[])[];
  readonly pairs: readonly (readonly (readonly (readonly [number, number])[])[])[];
  readonly cases: readonly {
    readonly exponent: number;
    readonly threshold: number;
    readonly values: readonly number[];
  }[];
}

const path = join(import.meta.dirname, '../golden/soft-cosine/golden.json');
const golden = JSON.parse(await readFile(path, 'utf8')) as Golden;
const vectors = golden.vectors.map((row) => Float32Array.from(row));
const side = (index: number) => golden.pairs.map((pair) => new Map(pair[index]));

describe('the soft cosine', () => {
  it.each(golden.cases)("is gensim's: exponent $exponent, threshold $threshold", (one) => {
    const { exponent, threshold, values } = one;
    const vectorOf = (term: number) => vectors[term];
    const result = softCosines(side(0), side(1), { vectorOf, exponent, threshold });
    expect(values.length).toBe(result.cosine.length);
    for (const [i, value] of values.entries()) expect(result.cosine[i]).toBeCloseTo(value, 5);
  });

  it('is the cosine of the counts where no term has a vector, and 1 for equal texts', () => {
    const x = new Map([
      [0, 2],
      [1, 1],
    ]);
    const y = new Map([
      [1, 3],
      [2, 1],
    ]);
    const none = softCosines([x], [y], { vectorOf: () => undefined });
    expect(none.cosine[0]).toBeCloseTo(3 / Math.sqrt(5 * 10), 12);
    expect(softCosines([x], [x], { vectorOf: (term) => vectors[term] }).cosine[0]).toBe(1);
    expect(softCosines([new Map()], [x], { vectorOf: (term) => vectors[term] }).cosine[0]).toBe(0);
  });

  it('scores the embedded decoder on its set', async () => {
    const [result] = await evaluateInputEmbeddings('embedded', {
      tasks: ['WordNetSTS'],
      folder: 'embedded',
      split: 'dev',
      protocol: 'mteb',
      everyNthRow: 4,
      bootstrap: 0,
    });
    expect(result?.pairs).toBe(250);
    expect(Math.abs(result?.mainScore ?? 2)).toBeLessThan(1);
    expect(result?.scored.similarity.every((value) => value >= 0 && value <= 1 + 1e-9)).toBe(true);
  });
});
