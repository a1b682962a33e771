import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseNegatives } from '../../src/mining/choose-negatives.js';
import type { Hits } from '../../src/mining/best-documents.js';
import { exactSearch } from '../../src/mining/search.js';
import type * as Search from '../../src/mining/search.js';
import type { Embeddings } from '../../src/pooling/packed-encoder.js';
import { randomStream } from '../../src/shared/random.js';

/** Small whole numbers: sums are exact, and many scores are equal. */
function vectors(rows: number, dimensions: number, seed: number): Embeddings {
  const random = randomStream(seed);
  const data = Float32Array.from({ length: rows * dimensions }, () => random.integer(7) - 3);
  return { rows, dimensions, data };
}

/** By query: the documents whose numbers pass. */
function sets(
  queries: number,
  documents: number,
  passes: (query: number, document: number) => boolean,
): Set<number>[] {
  const numbers = [...Array(documents).keys()];
  return Array.from(
    { length: queries },
    (_, query) => new Set(numbers.filter((document) => passes(query, document))),
  );
}

function plainSearch(
  query: number,
  queries: Embeddings,
  documents: Embeddings,
  most: number,
): [number, number][] {
  const scores = Array.from({ length: documents.rows }, (_, document): [number, number] => {
    let score = 0;
    for (let i = 0; i < queries.dimensions; i++)
      score +=
        queries.data[query * queries.dimensions + i]! * documents.data[document * queries.dimensions + i]!;
    return [document, score];
  });
  return scores
    .filter(([document]) => (document + query) % 5 !== 0)
    .sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .slice(0, most);
}

describe('exact search', () => {
  it.each([
    [3, 10, 4],
    [1030, 4230, 8],
    [2, 8192, 5],
  ])(
    '%i queries over %i documents: as one by one, ties by number, without what is skipped',
    async (q, d, width) => {
      const [queries, documents] = [vectors(q, width, 1), vectors(d, width, 2)];
      const found: Hits[] = [];
      const skip = sets(q, d, (query, document) => (document + query) % 5 === 0);
      for await (const block of exactSearch(queries, documents, { most: 12, threads: 1, skip }))
        found.push(...block);
      expect(found).toHaveLength(q);
      for (const query of [0, 1, q >> 1, q - 1]) {
        const hits = found[query]!;
        expect([...hits.documents].map((document, i) => [document, hits.scores[i]])).toEqual(
          plainSearch(query, queries, documents, 12),
        );
      }
    },
  );

  it('passes over what is too good for a query, and finds as many of the rest', async () => {
    const [queries, documents] = [vectors(3, 8, 7), vectors(4300, 8, 8)];
    const ceilings = Float32Array.of(5, Infinity, -20);
    for await (const block of exactSearch(queries, documents, { most: 30, threads: 1, ceilings }))
      for (const [query, hits] of block.entries()) {
        expect(hits.scores).toHaveLength(30);
        expect(Math.max(...hits.scores)).toBeLessThan(ceilings[query]!);
        const below = Array.from({ length: documents.rows }, (_, document) => {
          let score = 0;
          for (let i = 0; i < 8; i++)
            score += queries.data[query * 8 + i]! * documents.data[document * 8 + i]!;
          return score;
        }).filter((score) => score < ceilings[query]!);
        expect([...hits.scores]).toEqual(below.sort((a, b) => b - a).slice(0, 30));
      }
  });

  it('finds as many as there are where nearly all are passed over', async () => {
    const [queries, documents] = [vectors(2, 6, 5), vectors(4096, 6, 6)];
    const skip = sets(2, 4096, (_, document) => document % 400 !== 7);
    for await (const block of exactSearch(queries, documents, { most: 20, threads: 1, skip }))
      for (const hits of block)
        expect([...hits.documents].sort((a, b) => a - b)).toEqual(
          Array.from({ length: 11 }, (_, i) => 400 * i + 7),
        );
  });

  it('goes on from any block', async () => {
    const [queries, documents] = [vectors(1100, 4, 3), vectors(70, 4, 4)];
    const all: Hits[] = [];
    for await (const block of exactSearch(queries, documents, { most: 3, threads: 1 })) all.push(...block);
    const rest: Hits[] = [];
    for await (const block of exactSearch(queries, documents, { most: 3, threads: 1, from: 700 }))
      rest.push(...block);
    expect(rest).toEqual(all.slice(700));
    const none = exactSearch(queries, documents, { most: 3, threads: 1, from: 1100 });
    expect((await none.next()).done).toBe(true);
  });

  it('leaves out what has no score, and nothing else', async () => {
    const [queries, documents] = [vectors(1, 4, 3), vectors(40, 4, 4)];
    documents.data[4 * 17] = NaN;
    for await (const [hits] of exactSearch(queries, documents, { most: 40, threads: 1 }))
      expect([...hits!.documents].sort((a, b) => a - b)).toEqual(
        [...Array(40).keys()].filter((document) => document !== 17),
      );
  });
});

const built = new URL('../../dist/src/mining/search.js', import.meta.url);

/** Worker threads run compiled JavaScript: `npm run build` (part of `npm ci`) makes it. */
describe.skipIf(!existsSync(built))('exact search on several threads', () => {
  const random = (rows: number, seed: number): Embeddings => {
    const stream = randomStream(seed);
    const data = Float32Array.from({ length: rows * 64 }, () => stream.uniform() - 0.5);
    return { rows, dimensions: 64, data };
  };
  const [queries, documents] = [random(1500, 1), random(6001, 2)];
  const skip = sets(1500, 60, (query, document) => (query + document) % 3 === 0);
  const ceilings = Float32Array.from({ length: 1500 }, (_, query) => (query % 4 === 0 ? 1 : Infinity));
  const load = async (): Promise<typeof Search> => (await import(built.href)) as typeof Search;

  it('gives the same hits, to the last bit, from any query', async () => {
    const { exactSearch: search } = await load();
    const found: Hits[][] = [];
    for (const threads of [1, 2, 5]) {
      const hits: Hits[] = [];
      for await (const block of search(queries, documents, { most: 20, threads, skip, ceilings }))
        hits.push(...block);
      found.push(hits);
    }
    expect(found[0]).toHaveLength(1500);
    expect(found[1]).toEqual(found[0]);
    expect(found[2]).toEqual(found[0]);
    const rest: Hits[] = [];
    for await (const block of search(queries, documents, { most: 20, threads: 3, skip, ceilings, from: 600 }))
      rest.push(...block);
    expect(rest).toEqual(found[0]!.slice(600));
  });

  it('may be left before its end, and says why a thread failed', async () => {
    const { exactSearch: search } = await load();
    for await (const block of search(queries, documents, { most: 5, threads: 3 })) {
      expect(block[0]!.documents).toHaveLength(5);
      break;
    }
    const failing = search(queries, documents, { most: -1, threads: 2 });
    await expect(failing.next()).rejects.toThrow('Invalid typed array length');
  });
});

describe('choice of negatives', () => {
  const hits = (scores: readonly number[]): Hits => ({
    documents: Int32Array.from(scores, (_, i) => 100 + i),
    scores: Float32Array.from(scores),
  });
  const base = { negatives: 2, range: [0, 10], sampling: 'top', seed: 1, key: 0 } as const;

  it('is positive-aware: below a share of the positive, below it by a margin, within bounds and ranks', () => {
    const found = hits([0.98, 0.9, 0.8, 0.7, 0.2]);
    expect([...chooseNegatives(found, 0.95, { ...base, shareOfPositive: 0.95 }).documents]).toEqual([
      101, 102,
    ]);
    expect([...chooseNegatives(found, 0.95, { ...base, margin: 0.2 }).documents]).toEqual([103, 104]);
    expect([...chooseNegatives(found, 0.95, { ...base, highest: 0.85, lowest: 0.5 }).documents]).toEqual([
      102, 103,
    ]);
    expect([...chooseNegatives(found, 0.95, { ...base, range: [2, 3] }).documents]).toEqual([102]);
    // A share of a negative number would be above it.
    expect([
      ...chooseNegatives(hits([-0.1, -0.29]), -0.2, { ...base, shareOfPositive: 0.5 }).documents,
    ]).toEqual([]);
    expect([
      ...chooseNegatives(hits([-0.1, -0.31]), -0.2, { ...base, shareOfPositive: 0.5 }).documents,
    ]).toEqual([101]);
  });

  it('draws at random from what is left, hardest first, the same for the same seed', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.integer({ min: 1, max: 8 }), (key, negatives) => {
        const scores = Array.from({ length: 10 }, (_, i) => 1 - i / 10);
        const choice = { ...base, negatives, sampling: 'random' as const, key, margin: 0.05 };
        const chosen = chooseNegatives(hits(scores), 0.9, choice);
        expect(chosen.documents).toHaveLength(negatives);
        expect([...chosen.documents]).toEqual([...new Set(chosen.documents)].sort((a, b) => a - b));
        for (const score of chosen.scores) expect(score).toBeLessThan(0.85);
        expect(chooseNegatives(hits(scores), 0.9, choice)).toEqual(chosen);
      }),
    );
  });
});
