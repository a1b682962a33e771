import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classExamples } from '../../src/data/class-examples.js';
import { listedExamples, type Example, type RankedExample } from '../../src/data/examples.js';
import { Mixture } from '../../src/data/mixture.js';
import { wordNetPairs } from '../../src/data/wordnet-pairs.js';
import { assetPath } from '../../src/shared/package.js';
import {
  excludedDocuments,
  reversedRoles,
  rolesOf,
} from '../../src/training/objectives/contrastive-batch.js';

const pairs = (name: string, count: number): Example[] =>
  Array.from({ length: count }, (_, i) => ({
    form: 'ranked',
    query: `${name} query ${i}`,
    positive: `${name} positive ${i}`,
    negatives: [],
  }));

const ranked = (query: string, positive: string): Example => ({
  form: 'ranked',
  query,
  positive,
  negatives: [],
});

describe('mixture', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 });

  it('gives every set its share to within one batch, and all examples before any twice', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 8 }), fc.nat(1000), (counts, batchExamples, seed) => {
        const sets = counts.map((count, i) => ({
          set: listedExamples(`s${i}`, pairs(`s${i}`, count)),
          weight: count,
        }));
        const mixture = new Mixture(sets, { batchExamples, seed, negatives: 1, sameSet: true });
        const total = counts.reduce((sum, count) => sum + count, 0);
        const batches = Array.from({ length: 30 }, (_, index) => mixture.batch(index));
        const turns = counts.map(() => 0);
        const seen = new Map<string, number>();
        for (const [index, batch] of batches.entries()) {
          const own = batch[0]!.set;
          expect(batch.every(({ set }) => set === own)).toBe(true);
          turns[own]! += 1;
          for (const [i, count] of counts.entries())
            expect(Math.abs(turns[i]! - ((index + 1) * count) / total)).toBeLessThanOrEqual(counts.length);
          for (const { example } of batch) {
            const { query } = example as RankedExample;
            seen.set(query, (seen.get(query) ?? 0) + 1);
          }
        }
        // Any batch, without those before it: a run resumes at any step.
        const fresh = new Mixture(sets, { batchExamples, seed, negatives: 1, sameSet: true });
        expect(fresh.batch(17)).toEqual(batches[17]);
        for (const [i, count] of counts.entries()) {
          const size = Math.min(batchExamples, count);
          const perEpoch = Math.floor(count / size);
          const epochs = Math.ceil(turns[i]! / perEpoch);
          for (const [query, times] of seen)
            if (query.startsWith(`s${i} `)) expect(times).toBeLessThanOrEqual(epochs);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('mixes within a batch by weight', () => {
    const sets = ['a', 'b'].map((name, i) => ({
      set: listedExamples(name, pairs(name, 50)),
      weight: 1 + 2 * i,
    }));
    const options = { batchExamples: 16, seed: 1, negatives: 1, sameSet: false };
    const mixture = new Mixture(sets, options);
    const batch = mixture.batch(3);
    // Backwards, and without those before it.
    expect([2, 0, 3].map((index) => mixture.batch(index))[2]).toEqual(batch);
    expect(mixture.batch(0)).toEqual(new Mixture(sets, options).batch(0));
    expect(batch.filter(({ set }) => set === 1)).toHaveLength(12);
    expect(new Set(batch.map(({ example }) => (example as RankedExample).query)).size).toBe(16);
  });

  it('draws random negatives that differ from each other and answer no equal query', () => {
    // One query with five answers, and few others: chance alone would hit them.
    const examples: Example[] = [
      ...Array.from({ length: 5 }, (_, i) => ranked('shared', `answer ${i}`)),
      ...Array.from({ length: 4 }, (_, i) => ranked(`query ${i}`, `other ${i % 3}`)),
    ];
    const set = listedExamples('r', examples, { randomNegatives: 3, seed: 2 });
    for (let draw = 0; draw < 50; draw++) {
      const { negatives } = set.example(draw % 5, draw, 7) as RankedExample;
      expect([...negatives].sort()).toEqual(['other 0', 'other 1', 'other 2']);
      expect((set.example(8, draw, 2) as RankedExample).negatives).toHaveLength(2);
    }
    expect(set.example(0, 4, 3)).toEqual(set.example(0, 4, 3));
  });

  it('takes negatives in turn, epoch after epoch', () => {
    const set = listedExamples('n', [
      { form: 'ranked', query: 'q', positive: 'p', negatives: ['a', 'b', 'c'], teacher: [9, 1, 2, 3] },
    ]);
    expect([0, 1, 2].map((draw) => set.example(0, draw, 2))).toMatchObject([
      { negatives: ['a', 'b'], teacher: [9, 1, 2] },
      { negatives: ['c', 'a'], teacher: [9, 3, 1] },
      { negatives: ['b', 'c'], teacher: [9, 2, 3] },
    ]);
  });
});

const items = Array.from({ length: 30 }, (_, i) => ({ text: `t${i}`, label: `c${i % 4}` }));

describe('labelled classes as examples', () => {
  const labels = new Map(items.map(({ text, label }) => [text, label]));

  it('positive of the class, negatives of others, never the query itself; another draw, others', () => {
    const set = classExamples('classes', [...items, { text: 'alone', label: 'lonely' }], 5);
    expect(set.count).toBe(30);
    labels.set('alone', 'lonely');
    fc.assert(
      fc.property(fc.nat(29), fc.nat(50), fc.nat(9), (index, draw, negatives) => {
        const example = set.example(index, draw, negatives) as RankedExample;
        const label = labels.get(example.query);
        expect(labels.get(example.positive)).toBe(label);
        expect(example.positive).not.toBe(example.query);
        expect(new Set(example.negatives).size).toBe(negatives);
        for (const negative of example.negatives) expect(labels.get(negative)).not.toBe(label);
        expect(set.example(index, draw, negatives)).toEqual(example);
      }),
    );
    const positives = Array.from(
      { length: 20 },
      (_, draw) => (set.example(0, draw, 1) as RankedExample).positive,
    );
    expect(new Set(positives).size).toBeGreaterThan(3);
  });

  it('refuses one class', () => {
    expect(() => classExamples('one', items.slice(0, 1), 1)).toThrow(/cannot become examples/);
  });
});

describe('what is no negative of a query', () => {
  const example = (
    query: string,
    positive: string,
    negatives: string[] = [],
    group?: string,
    negativeGroups?: string[],
  ) => ({
    set: 0,
    example: {
      form: 'ranked' as const,
      query,
      positive,
      negatives,
      ...(group === undefined ? {} : { group }),
      ...(negativeGroups === undefined ? {} : { negativeGroups }),
    },
  });
  const excluded = (
    drawn: ReturnType<typeof example>[],
    options: { inBatch?: boolean; mask?: boolean } = {},
  ) => {
    const { ranked } = rolesOf(drawn, [options.inBatch ?? true]);
    const columns = ranked!.owner.length + 1;
    const matrix = excludedDocuments(ranked!, {
      first: 0,
      rows: drawn.length,
      columns,
      maskDuplicates: options.mask ?? true,
    });
    return drawn.map((_, q) => [...matrix.subarray(q * columns, (q + 1) * columns)].join(''));
  };

  it('the same text, the query itself, the positive of an equal query, positives of the class; blank documents', () => {
    expect(excluded([example('a', 'A'), example('b', 'B')])).toEqual(['001', '001']);
    expect(excluded([example('a', 'A'), example('b', 'A')])).toEqual(['011', '101']);
    expect(excluded([example('a', 'b'), example('b', 'B')])).toEqual(['001', '101']);
    expect(excluded([example('a', 'A'), example('a', 'B')])).toEqual(['011', '101']);
    expect(
      excluded([example('a', 'A', [], 'g'), example('b', 'B', [], 'g'), example('c', 'C', [], 'h')]),
    ).toEqual(['0101', '1001', '0001']);
    expect(excluded([example('a', 'A', ['N']), example('b', 'B', ['A'])])).toEqual(['00011', '00001']);
    expect(excluded([example('a', 'A'), example('b', 'A')], { mask: false })).toEqual(['001', '001']);
  });

  it("another example's negatives that are of the query's class", () => {
    const drawn = [
      example('a', 'A', ['x'], 'g', ['h']),
      example('b', 'B', ['y'], 'h', ['g']),
      example('c', 'C', ['z'], 'k', ['g']),
    ];
    expect(excluded(drawn)).toEqual(['0000111', '0001001', '0000001']);
    expect(excluded(drawn, { mask: false })).toEqual(['0000001', '0000001', '0000001']);
    const labels = new Map(items.map(({ text, label }) => [text, label]));
    const set = classExamples('classes', items, 5);
    const batch = Array.from({ length: 12 }, (_, i) => ({ set: 0, example: set.example(i, 0, 3) }));
    const roles = rolesOf(batch, [true]);
    const { owner } = roles.ranked!;
    const matrix = excludedDocuments(roles.ranked!, {
      first: 0,
      rows: 12,
      columns: owner.length,
      maskDuplicates: true,
    });
    for (let query = 0; query < 12; query++)
      for (let document = 0; document < owner.length; document++) {
        const [asked, found] = [roles.texts[query]!, roles.texts[12 + document]!];
        if (document !== query && labels.get(asked.text) === labels.get(found.text))
          expect(matrix[query * owner.length + document], `${asked.text} ${found.text}`).toBe(1);
      }
  });

  it('without in-batch negatives: all but its own', () => {
    expect(excluded([example('a', 'A', ['x', 'y']), example('b', 'B', ['z'])], { inBatch: false })).toEqual([
      '010011',
      '101101',
    ]);
  });

  it('reversed, positives look at queries', () => {
    const { ranked } = rolesOf([example('a', 'A', ['n']), example('a', 'B')], [true]);
    const roles = reversedRoles(ranked!);
    const matrix = excludedDocuments(roles, { first: 0, rows: 2, columns: 2, maskDuplicates: true });
    expect([...matrix]).toEqual([0, 1, 1, 0]);
  });
});

describe('pairs of WordNet', () => {
  it('words with glosses, glosses with sentences, without the meanings of the evaluation set', async () => {
    const glosses = await wordNetPairs('wordnet-word-to-gloss');
    expect(glosses.length).toBeGreaterThan(100_000);
    expect(glosses.find(({ query }) => query.startsWith('dog, '))).toMatchObject({
      query: 'dog, domestic dog, Canis familiaris',
      positive: expect.stringContaining('a member of the genus Canis') as string,
    });
    const held = await readFile(assetPath('wordnet-sts', 'test.tsv'), 'utf8');
    const sentences = new Set(held.split('\n').flatMap((row) => row.split('\t').slice(1)));
    expect(glosses.some(({ positive }) => sentences.has(positive))).toBe(false);
    const examples = await wordNetPairs('wordnet-gloss-to-example');
    expect(examples.length).toBeGreaterThan(20_000);
    expect(examples.every(({ positive }) => positive.split(' ').length >= 4)).toBe(true);
  }, 240_000);
});
