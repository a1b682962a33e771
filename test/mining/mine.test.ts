import { appendFile, cp, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exampleSetSchema } from '../../src/data/example-schema.js';
import { readExamples } from '../../src/data/read-examples.js';
import { Embedder } from '../../src/embedder/embedder.js';
import { ForeignOnnxEmbedder } from '../../src/embedder/foreign-onnx.js';
import { exportEmbedder } from '../../src/recipes/export.js';
import { mineNegatives, type MineNegativesOptions } from '../../src/recipes/mine.js';
import { exists } from '../../src/shared/files.js';

const animals = ['cat', 'dog', 'horse', 'mouse', 'cow', 'sheep', 'goat', 'wolf', 'fox', 'bear'];

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-mine-'));
  const rows = animals.flatMap((animal) => [
    `what is a ${animal}\ta ${animal} is an animal`,
    `what is a ${animal}\tthe ${animal} lives outside`,
  ]);
  await writeFile(join(folder, 'pairs.tsv'), `query\tpositive\n${rows.join('\n')}\n`);
  await writeFile(join(folder, 'corpus.txt'), 'stones are hard\nwhat is a cat\nwater is wet\n');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const options = (given: Partial<MineNegativesOptions> = {}): MineNegativesOptions => ({
  model: 'embedded',
  set: exampleSetSchema.parse({ kind: 'pairs', path: join(folder, 'pairs.tsv') }),
  corpus: [join(folder, 'corpus.txt')],
  output: join(folder, 'mined.jsonl'),
  negatives: 3,
  range: [0, 10],
  sampling: 'top',
  seed: 0,
  threads: 1,
  ...given,
});

interface Mined {
  readonly query: string;
  readonly positive: string;
  readonly negatives: readonly string[];
  readonly scores: readonly number[];
}

const readLines = async (path: string): Promise<Mined[]> =>
  (await readFile(path, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Mined);

describe('mining', () => {
  it('gives the nearest texts that are no positives, their scores, in a file that trains', async () => {
    const result = await mineNegatives(options());
    expect(result).toEqual({ examples: 20, negatives: 60, short: 0, without: 0 });
    const lines = await readLines(join(folder, 'mined.jsonl'));
    expect(lines).toHaveLength(20);
    const embedder = await Embedder.open('embedded', { threads: 1 });
    const documents = [
      ...new Set([
        ...lines.map(({ positive }) => positive),
        'stones are hard',
        'what is a cat',
        'water is wet',
      ]),
    ];
    const vectors = await embedder.encode(documents);
    for (const { query, positive, negatives, scores } of lines.slice(0, 4)) {
      const { data } = embedder.similarity(await embedder.encode(query), vectors);
      const own = lines.filter((line) => line.query === query).map((line) => line.positive);
      const ranked = documents
        .map((text, i) => ({ text, score: data[i]! }))
        .filter(({ text }) => text !== query && !own.includes(text))
        .sort((a, b) => b.score - a.score)
        .slice(0, 3);
      expect(negatives).toEqual(ranked.map(({ text }) => text));
      for (const [i, score] of [data[documents.indexOf(positive)]!, ...ranked.map((r) => r.score)].entries())
        expect(scores[i]).toBeCloseTo(score, 4);
    }
    await embedder.dispose();
    const set = exampleSetSchema.parse({
      kind: 'tuples',
      path: join(folder, 'mined.jsonl'),
      columns: { teacherScores: 'scores' },
    });
    const { set: examples } = await readExamples(set, { name: 'mined', seed: 0 });
    expect(examples.example(3, 0, 3)).toMatchObject(
      (({ query, positive, negatives, scores: teacher }) => ({ query, positive, negatives, teacher }))(
        lines[3]!,
      ),
    );
    const plain = exampleSetSchema.parse({ kind: 'tuples', path: join(folder, 'mined.jsonl') });
    const { set: withoutScores } = await readExamples(plain, { name: 'mined', seed: 0 });
    expect(withoutScores.example(3, 0, 3)).toMatchObject({ negatives: lines[3]!.negatives });
    expect(await exists(join(folder, 'mined.jsonl.work'))).toBe(false);
  });

  it('goes on where it was stopped, to the same file; other settings begin anew', async () => {
    const output = join(folder, 'stopped.jsonl');
    const work = `${output}.work`;
    const stopAt = (phase: string): Partial<MineNegativesOptions> => ({
      output,
      onProgress: (now) => {
        if (now === phase) throw new Error('stopped');
      },
    });
    await expect(mineNegatives(options(stopAt('searching')))).rejects.toThrow('stopped');
    expect(await exists(output)).toBe(false);
    // What a killed process leaves: a group that is not whole, lines that are not counted.
    const vectors = join(work, 'documents.f32');
    await truncate(vectors, (await stat(vectors)).size - 100);
    await appendFile(join(work, 'lines.jsonl'), '{"query":');
    const phases: string[] = [];
    await mineNegatives(options({ output, onProgress: (phase) => phases.push(phase) }));
    expect(phases).toContain('embedding documents');
    expect(phases).not.toContain('embedding queries');
    expect(await readFile(output, 'utf8')).toBe(await readFile(join(folder, 'mined.jsonl'), 'utf8'));
    await expect(mineNegatives(options({ ...stopAt('searching') }))).rejects.toThrow('stopped');
    await mineNegatives(options({ output, negatives: 2 }));
    expect((await readLines(output))[0]!.negatives).toHaveLength(2);
  });

  it('takes an ONNX embedder of another tool as teacher', async () => {
    const [ours, foreign] = [join(folder, 'ours'), join(folder, 'foreign')];
    await exportEmbedder({ model: 'embedded', output: ours, threads: 1, overwrite: true });
    await cp(ours, foreign, { recursive: true });
    for (const name of ['lmvec.json', 'model.safetensors', 'config.json']) await rm(join(foreign, name));
    const texts = ['what is a cat', 'a much longer text about the weather and the sea', 'dog'];
    const [a, b] = [
      await Embedder.open(ours, { threads: 1 }),
      await ForeignOnnxEmbedder.open(foreign, { threads: 1 }),
    ];
    const [expected, actual] = [await a.encode(texts), await b.encode(texts)];
    expect(Math.max(...actual.data.map((value, i) => Math.abs(value - expected.data[i]!)))).toBeLessThan(
      1e-4,
    );
    await Promise.all([a.dispose(), b.dispose()]);
    const output = join(folder, 'foreign.jsonl');
    await mineNegatives(options({ model: foreign, output }));
    const mined = await readLines(output);
    for (const [i, { negatives }] of (await readLines(join(folder, 'mined.jsonl'))).entries())
      expect(mined[i]!.negatives).toEqual(negatives);
  });
});
