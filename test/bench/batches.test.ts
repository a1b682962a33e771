import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeBatches, type BatchRequest } from '../../bench/batches.js';
import { benches } from '../../bench/jobs.js';
import { UserError } from '../../src/shared/errors.js';

let data: string;
beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'lmvec-test-'));
  await mkdir(join(data, 'corpus'));
  for (const name of ['wikisplit', 'brown', 'masc']) {
    const lines = Array.from({ length: 100 }, (_, i) => `${name} ${i}${i % 10 === 9 ? '\n' : ''}`);
    await writeFile(join(data, 'corpus', `${name}.txt`), `${lines.join('\n')}\n`);
  }
  await mkdir(join(data, 'STSb'));
  const pairs = Array.from({ length: 500 }, (_, i) => `1.0\tleft ${i}\tright ${i}`);
  await writeFile(join(data, 'STSb', 'test.tsv'), `score\tsentence1\tsentence2\n${pairs.join('\n')}\n`);
});
afterAll(async () => rm(data, { recursive: true, force: true }));

const request = (bench: BatchRequest['bench'], seed = 0): BatchRequest => ({
  bench,
  data,
  model: '',
  seed,
  count: 7,
  warmup: 1,
});

describe('makeBatches', () => {
  it('draws each sentence of the three corpora at most once, the same for the same seed', async () => {
    const batches = await makeBatches(request(benches['simcse-real']));
    const texts = batches.flatMap((batch) => ('texts' in batch ? batch.texts : []));
    expect(batches).toHaveLength(7);
    expect(new Set(texts).size).toBe(7 * 32);
    for (const name of ['wikisplit', 'brown', 'masc'])
      expect(texts.some((text) => text.startsWith(name))).toBe(true);
    expect(await makeBatches(request(benches['simcse-real']))).toEqual(batches);
    expect(await makeBatches(request(benches['simcse-real'], 1))).not.toEqual(batches);
  });

  it('makes dense batches of distinct rows that fill their shape', async () => {
    const rows = (await makeBatches(request(benches['simcse-dense']))).flatMap((batch) =>
      'ids' in batch ? batch.ids : [],
    );
    expect(rows).toHaveLength(7 * 32);
    expect(rows.every((row) => row.length === 32 && row.every((id) => id >= 5 && id < 49152))).toBe(true);
    expect(new Set(rows.map(String)).size).toBe(rows.length);
  });

  it('encodes the whole test set once after the warm-up', async () => {
    const batches = await makeBatches(request(benches.encode));
    expect(batches[0]).toEqual(batches[1]);
    const texts = batches.slice(1).flatMap((batch) => ('texts' in batch ? batch.texts : []));
    expect(texts).toEqual(Array.from({ length: 500 }, (_, i) => [`left ${i}`, `right ${i}`]).flat());
  });

  it('names what is missing', async () => {
    await expect(makeBatches({ ...request(benches.encode), data: join(data, 'none') })).rejects.toThrow(
      UserError,
    );
  });
});
