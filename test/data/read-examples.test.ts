import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exampleSetSchema } from '../../src/data/example-schema.js';
import type { Example } from '../../src/data/examples.js';
import { readExamples } from '../../src/data/read-examples.js';

interface Row {
  readonly id: string;
  readonly query: string;
  readonly positive: string;
  readonly negative: string;
  readonly negatives: readonly string[];
  readonly scores: readonly number[];
  readonly label: number;
  readonly score: number;
}

const golden = (name: string): string => fileURLToPath(new URL(`../golden/data/${name}`, import.meta.url));
const rows = JSON.parse(await readFile(golden('examples.json'), 'utf8')) as readonly Row[];
/** Columns that a table of strings can hold too. */
const flat = ['id', 'query', 'positive', 'negative', 'label', 'score'] as const;

let folder = '';
const paths: Record<string, string> = { parquet: golden('examples.parquet') };
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-examples-'));
  for (const format of ['tsv', 'csv', 'jsonl']) paths[format] = join(folder, `examples.${format}`);
  const quoted = (value: unknown): string => `"${String(value).replaceAll('"', '""')}"`;
  const table = (separator: string, cell: (value: unknown) => string): string =>
    [
      flat.join(separator),
      ...rows.map((row) => flat.map((name) => cell(row[name])).join(separator)),
      '',
    ].join('\n');
  await writeFile(paths['tsv']!, table('\t', String));
  await writeFile(paths['csv']!, table(',', quoted));
  await writeFile(paths['jsonl']!, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const examplesOf = async (set: Record<string, unknown>): Promise<Example[]> => {
  const { set: read } = await readExamples(exampleSetSchema.parse(set), { name: 'set', seed: 0 });
  return Array.from({ length: read.count }, (_, i) => read.example(i, 0, 9));
};

describe.each(['tsv', 'csv', 'jsonl', 'parquet'])('examples from %s', (format) => {
  const ranked = (negatives: (row: Row) => readonly string[]) =>
    rows.map((row) => ({
      form: 'ranked',
      query: row.query,
      positive: row.positive,
      negatives: negatives(row),
    }));

  it('pairs and triplets, without a word on columns: a column of ids is no query', async () => {
    const path = paths[format];
    expect(await examplesOf({ kind: 'pairs', path })).toEqual(ranked(() => []));
    expect(await examplesOf({ kind: 'triplets', path })).toEqual(ranked((row) => [row.negative]));
  });

  it('tuples with one column for each negative, and scored pairs', async () => {
    const path = paths[format];
    const columns = { negatives: ['negative', 'positive'] };
    expect(
      await examplesOf({ kind: 'tuples', path, columns: { ...columns, query: 'id', positive: 'query' } }),
    ).toEqual(
      rows.map((row) => ({
        form: 'ranked',
        query: row.id,
        positive: row.query,
        negatives: [row.negative, row.positive],
      })),
    );
    const pair = { first: 'query', second: 'positive', score: 'score' };
    expect(await examplesOf({ kind: 'scoredPairs', path, columns: pair })).toEqual(
      rows.map((row) => ({ form: 'scored', first: row.query, second: row.positive, score: row.score })),
    );
    const good = rows.filter(({ score }) => score >= 3);
    expect(await examplesOf({ kind: 'scoredPairs', path, columns: pair, positivesFrom: 3 })).toEqual(
      good.flatMap(({ query: a, positive: b }) => [
        { form: 'ranked', query: a, positive: b, negatives: [] },
        { form: 'ranked', query: b, positive: a, negatives: [] },
      ]),
    );
  });

  it('labelled classes', async () => {
    const columns = { text: 'positive' };
    const examples = await examplesOf({ kind: 'classes', path: paths[format], columns });
    const labels = new Map(rows.map(({ positive, label }) => [positive, label]));
    expect(examples.map((example) => 'query' in example && example.query)).toEqual(
      rows.map(({ positive }) => positive),
    );
    for (const example of examples) {
      if (example.form !== 'ranked') throw new Error('not ranked');
      expect(labels.get(example.positive)).toBe(labels.get(example.query));
      expect(example.negatives).toHaveLength(8);
      for (const negative of example.negatives)
        expect(labels.get(negative)).not.toBe(labels.get(example.query));
    }
  });
});

describe.each(['jsonl', 'parquet'])('examples with lists from %s', (format) => {
  it('negatives and the scores of a teacher', async () => {
    const columns = { negatives: 'negatives', teacherScores: 'scores' };
    expect(await examplesOf({ kind: 'tuples', path: paths[format], columns })).toEqual(
      rows.map(({ query, positive, negatives, scores: teacher }) => ({
        form: 'ranked',
        query,
        positive,
        negatives,
        teacher,
      })),
    );
    expect(await examplesOf({ kind: 'tuples', path: paths[format] })).toMatchObject(
      rows.map(({ negatives }) => ({ negatives })),
    );
  });
});

describe('tuples of a table', () => {
  it('have as many negatives as a row has cells with a text', async () => {
    const path = join(folder, 'ragged.tsv');
    await writeFile(path, 'q\tp\tn1\tn2\tn3\na\tb\tc\td\te\nf\tg\t\th\t\ni\tj\t\t \t\n');
    expect(await examplesOf({ kind: 'tuples', path })).toMatchObject([
      { query: 'a', positive: 'b', negatives: ['c', 'd', 'e'] },
      { query: 'f', positive: 'g', negatives: ['h'] },
      { query: 'i', positive: 'j', negatives: [] },
    ]);
    // A triplet has one.
    await expect(examplesOf({ kind: 'triplets', path })).rejects.toThrow(/ragged\.tsv:3.*column n1/);
  });
});

describe('columns that are taken in their order', () => {
  it.each([
    ['anchor\tpositive\tnegative', ['a', 'b', 'c']],
    ['positive\tanchor\tnegative', ['b', 'a', 'c']],
    ['sentence1\tsentence2\tsentence3', ['a', 'b', 'c']],
    ['doc_id\tquestion\tanswer\twrong', ['b', 'c', 'd']],
    ['query\tanswer\tnegative', ['a', 'b', 'c']],
  ])('%s', async (header, expected) => {
    const path = join(folder, 'order.tsv');
    await writeFile(
      path,
      `${header}\n${['a', 'b', 'c', 'd'].slice(0, header.split('\t').length).join('\t')}\n`,
    );
    const [query, positive, negative] = expected;
    expect(await examplesOf({ kind: 'triplets', path })).toEqual([
      { form: 'ranked', query, positive, negatives: [negative] },
    ]);
  });

  it('none is left', async () => {
    const path = join(folder, 'few.tsv');
    await writeFile(path, 'id\tquery\n1\ta\n');
    await expect(examplesOf({ kind: 'pairs', path })).rejects.toThrow(/no column is left for the positive/);
  });
});
