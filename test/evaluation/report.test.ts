import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { scoreTask, type EvalResult } from '../../src/evaluation/evaluate.js';
import { writeMtebResults } from '../../src/evaluation/mteb.js';
import { comparisonLine, resultTable, subsetLines } from '../../src/evaluation/report.js';
import type { StsTask } from '../../src/evaluation/sts.js';
import { randomStream } from '../../src/shared/random.js';
import { folderWith } from './sets.js';

/** A result on 60 pairs of a model whose similarities are the gold scores and some noise. */
function result(name: string, noise: number, other: Partial<StsTask> = {}): EvalResult {
  const random = randomStream(name.length + Math.round(noise * 100));
  const gold = Float64Array.from({ length: 60 }, (_, i) => i % 11);
  const task: StsTask = {
    name,
    split: 'test',
    protocol: 'mteb',
    file: `sets/${name}/test.tsv`,
    sha256: 'ab'.repeat(32),
    everyNthRow: 1,
    gold,
    first: Array.from(gold, (_, i) => `first ${String(i)}`),
    second: Array.from(gold, (_, i) => `second ${String(i)}`),
    ...other,
  };
  const cosine = gold.map((score) => score + noise * random.normal());
  const flat = other.sha256 === 'flat';
  const values = flat ? gold.map(() => 1) : cosine;
  return scoreTask(
    task,
    { cosine: values, dot: values, euclidean: values, manhattan: values },
    { bootstrap: 200 },
  );
}

const good = { name: 'good', results: [result('STSb', 1), result('STS12', 1), result('STS15', 1)] };
const poor = { name: 'tf-idf', results: [result('STSb', 9), result('STS12', 9)] };

describe('resultTable', () => {
  test('has rows, columns in the order of the field, average, and says what each number is', () => {
    const table = resultTable([good, poor], { bootstrap: 200 });
    const lines = table.split('\n');
    expect(lines[0]?.split(/\s{2,}/)).toEqual(['', 'protocol', 'STS12', 'STS15', 'STSb', 'average']);
    expect(lines[1]).toMatch(/^good +mteb +\d\d\.\d\d \[\d\d\.\d, \d\d\.\d\] /);
    expect(lines[3]).toBe(
      'Cosine Spearman x 100, whole file; split test; protocol mteb = original text; [bootstrap 95 % interval, 200 resamples].',
    );
    expect(lines[4]).toBe(
      'Average over STS12, STSb; left out: STS15 (not in every row), STS13, STS14, STS16, SICK-R (not evaluated).',
    );
    const mean = ((good.results[0]?.mainScore ?? NaN) + (good.results[1]?.mainScore ?? NaN)) * 50;
    expect(lines[1]).toContain(mean.toFixed(2));
    const ends = lines.slice(0, 2).map((line) => line.length);
    expect(ends[0]).toBe(ends[1]);
  });

  test('never mixes the embedded set into the average of the standard ones', () => {
    const own = result('WordNetSTS', 5, { protocol: 'file' });
    const lines = resultTable([{ name: 'm', results: [...poor.results, own] }], { bootstrap: 0 }).split('\n');
    const mean = ((poor.results[0]?.mainScore ?? NaN) + (poor.results[1]?.mainScore ?? NaN)) * 50;
    expect(lines[1]).toMatch(new RegExp(`^m +mteb \\+ file .* ${mean.toFixed(2)}$`));
    expect(lines.at(-1)).toMatch(
      /^Average over STS12, STSb; left out: WordNetSTS \(not one of the seven\), STS13, /,
    );
    expect(resultTable([{ name: 'm', results: [own, { ...own, task: 'own' }] }])).toMatch(
      /Average over WordNetSTS, own\.$/,
    );
  });

  test('is markdown on request, without intervals on request', () => {
    const lines = resultTable([{ ...good, name: 'a|b' }], { format: 'markdown', intervals: false }).split(
      '\n',
    );
    expect(lines[1]).toBe('| --- | --- | ---: | ---: | ---: | ---: |');
    expect(lines[2]).toMatch(
      /^\| a\\\|b \| mteb \| \d\d\.\d\d \| \d\d\.\d\d \| \d\d\.\d\d \| \d\d\.\d\d \|$/,
    );
  });

  test('keeps protocols, splits and row selections apart', () => {
    const senteval = { name: 'good', results: [result('STSb', 1, { protocol: 'senteval' })] };
    const part = { name: 'part', results: [result('STSb', 1, { split: 'dev', everyNthRow: 3 })] };
    const [head = '', first = '', second = ''] = resultTable([senteval, part]).split('\n');
    expect(head.split(/\s{2,}/)).toEqual(['', 'protocol', 'STSb test', 'STSb dev 1/3']);
    expect(first).toMatch(/^good +senteval/);
    expect(second).toMatch(/^part +mteb/);
  });

  test('says where there is no correlation', () => {
    expect(resultTable([{ name: 'flat', results: [result('STSb', 1, { sha256: 'flat' })] }])).toContain(
      'undefined',
    );
  });

  test('lists subsets and compares two rows', () => {
    const subsets = Array.from({ length: 60 }, (_, i) => (i < 20 ? 'forum' : 'news'));
    expect(subsetLines(result('STS15', 1, { subsets }))).toMatch(
      /protocol mteb.*\n {2}forum +20 +\d\d\.\d\d\n {2}news +40 +/,
    );
    expect(comparisonLine(good, poor, { bootstrap: 200 })).toMatch(
      /^good against tf-idf: \+\d\d\.\d\d \[\d+\.\d, \d+\.\d\] over STSb, STS12 \(paired bootstrap, 200 resamples, p = 0\.010\)$/,
    );
    const elsewhere = { name: 'x', results: [result('SICK-R', 1)] };
    expect(comparisonLine(good, elsewhere)).toBe('good against x: no evaluation set in common');
  });
});

describe('writeMtebResults', () => {
  const model = {
    name: 'HuggingFaceTB/SmolLM2-135M',
    revision: 'abc123',
    parameters: 134515008,
    embeddingDimensions: 576,
    lmvec: { pooling: 'mean' },
  };
  const readJson = async (path: string): Promise<Record<string, unknown>> =>
    JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;

  test('lays the files out as MTEB does', async () => {
    const folder = await folderWith({});
    const paths = await writeMtebResults({ folder, model, results: good.results });
    const home = join(folder, 'HuggingFaceTB__SmolLM2-135M', 'abc123');
    expect(paths).toEqual(['STSBenchmark', 'STS12', 'STS15'].map((name) => join(home, `${name}.json`)));
    expect((await readdir(home)).sort()).toEqual([
      'STS12.json',
      'STS15.json',
      'STSBenchmark.json',
      'model_meta.json',
    ]);
    const stsb = good.results[0];
    expect(await readJson(join(home, 'STSBenchmark.json'))).toMatchObject({
      task_name: 'STSBenchmark',
      dataset_revision: 'b0fddb56ed78048fa8b90373c8a3cfc37b684831',
      mteb_version: null,
      protocol: 'mteb',
      evaluation_time: stsb?.seconds,
      scores: {
        test: [
          {
            main_score: stsb?.mainScore,
            cosine_spearman: stsb?.mainScore,
            cosine_pearson: stsb?.pearson.cosine,
            euclidean_pearson: stsb?.pearson.euclidean,
            manhattan_spearman: stsb?.spearman.manhattan,
            dot_spearman: stsb?.spearman.dot,
            spearman: stsb?.mainScore,
            pearson: stsb?.pearson.cosine,
            hf_subset: 'default',
            languages: ['eng-Latn'],
            protocol: 'mteb',
            pairs: 60,
          },
        ],
      },
    });
    expect(await readJson(join(home, 'model_meta.json'))).toMatchObject({
      name: model.name,
      revision: 'abc123',
      n_parameters: 134515008,
      embed_dim: 576,
      similarity_fn_name: 'cosine',
      loader_kwargs: { protocol: 'mteb', pooling: 'mean' },
    });
  });

  test('files other protocols apart, and names as MTEB data only what is', async () => {
    const folder = await folderWith({});
    const results = [
      result('STS12', 1),
      result('STS12', 1, { protocol: 'senteval' }),
      result('WordNetSTS', 1, { protocol: 'file' }),
    ];
    await writeMtebResults({ folder, model: { name: '../../evil', revision: '../x' }, results });
    expect(await readdir(folder)).toEqual(['___evil']);
    const home = join(folder, '___evil');
    const revisions = (await readdir(home)).sort();
    expect(revisions).toEqual(['_x', '_x-file', '_x-senteval']);
    const senteval = await readJson(join(home, '_x-senteval', 'STS12.json'));
    expect(senteval).toMatchObject({
      protocol: 'senteval',
      dataset_revision: 'a0d554a64d88156834ff5ae9920b964011b16384-senteval',
    });
    const own = await readJson(join(home, '_x-file', 'WordNetSTS.json'));
    expect(own['dataset_revision']).toMatch(/^sha256-(ab){20}$/);
  });

  test('keeps other splits of the same data, replaces the same split, and survives a broken file', async () => {
    const folder = await folderWith({ 'lmvec__m/r/STSBenchmark.json': '{broken' });
    const write = (results: EvalResult[]) =>
      writeMtebResults({ folder, model: { name: 'm', revision: 'r' }, results });
    const [path = ''] = await write([result('STSb', 1, { split: 'dev' })]);
    await write([result('STSb', 5), result('STSb', 2, { split: 'train' })]);
    await write([result('STSb', 1)]);
    const scores = (await readJson(path))['scores'] as Record<string, [{ main_score: number }]>;
    expect(Object.keys(scores).sort()).toEqual(['dev', 'test', 'train']);
    expect(scores['test']?.[0].main_score).toBe(result('STSb', 1).mainScore);
  });

  test('writes null where there is no correlation', async () => {
    const folder = await folderWith({});
    const [path = ''] = await writeMtebResults({
      folder,
      model,
      results: [result('STSb', 1, { sha256: 'flat' })],
    });
    expect(await readJson(path)).toMatchObject({ scores: { test: [{ main_score: null }] } });
  });
});
