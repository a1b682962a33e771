import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { benchMethods } from '../../bench/methods.js';
import { methodsMarkdown, type MethodReport } from '../../bench/methods/report.js';
import { evaluate } from '../../src/recipes/evaluate.js';
import { methods } from '../../src/pooling/methods.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bench-methods-'));
});
afterAll(() => rm(folder, { recursive: true }));

const rows = [
  'score\tsentence1\tsentence2',
  '5\tthe horse runs\ta horse is running',
  '4\tthe house on the hill\ta house upon a hill',
  '1\tthe horse runs\tthe house on the hill',
  '0\ta kind of red wine\ta horse is running',
  '2\ta kind of red wine\ta house upon a hill',
].join('\n');

it('measures every method once, as evaluate does, and goes on from what is there', async () => {
  const set = join(folder, 'pairs.tsv');
  const output = join(folder, 'methods.json');
  await writeFile(set, rows);
  const selection = { tasks: [set], folder, split: 'test', protocol: 'mteb' } as const;
  const heard: string[] = [];
  const run = (): Promise<MethodReport> =>
    benchMethods({
      ...selection,
      model: 'embedded',
      threads: 1,
      timedTexts: 3,
      output,
      onRow: ({ name }) => heard.push(name),
    });
  const report = await run();
  const names = report.rows.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  const leftOut = report.leftOut.map(({ name }) => name);
  for (const name of methods.keys()) expect([...names, ...leftOut]).toContain(name);
  expect(names).toEqual(expect.arrayContaining(['mean', 'prompt-eol', 'echo', 'first-last-mean', 'tf-idf']));
  for (const method of ['echo', 'first-last-mean']) {
    const { rows: alone } = await evaluate({
      ...selection,
      model: { model: 'embedded', method, threads: 1 },
      baselines: false,
      bootstrap: 0,
    });
    const row = report.rows.find(({ name }) => name === method)!;
    expect(row.scores['pairs']).toBeCloseTo(alone[0]!.results[0]!.mainScore, 5);
    expect(row.secondsPer1000).toBeGreaterThan(0);
  }
  expect(methodsMarkdown(report)).toContain('| tf-idf |');

  const kept = JSON.parse(await readFile(output, 'utf8')) as MethodReport;
  expect(kept).toEqual(report);
  const missing = kept.rows.filter(({ name }) => name !== 'weighted-mean');
  await writeFile(output, JSON.stringify({ ...kept, rows: missing }));
  heard.length = 0;
  await run();
  expect(heard).toEqual(['weighted-mean']);
});
