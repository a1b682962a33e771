import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { killLoop, runUndisturbed } from '../../bench/kills/loop.js';
import { prepareWork } from '../../bench/kills/work.js';
import { root } from './command.js';

vi.setConfig({ testTimeout: 400_000, hookTimeout: 300_000 });

/** bench/kills.ts does the same 200 times. */
const kills = 16;
let folder = '';
let works: Awaited<ReturnType<typeof prepareWork>>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-kills-'));
  works = await prepareWork(folder, {
    lmvec: [process.execPath, '--import', import.meta.resolve('tsx'), join(root, 'scripts/lmvec.ts')],
    model: join(root, 'test/golden/llama/base'),
    evaluation: join(root, 'assets/wordnet-sts/dev.tsv'),
  });
  await runUndisturbed(works.train.command);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('killed at random changes of its files', () => {
  it(`train, ${String(kills)} times: every file is whole, and the weights are those of the undisturbed run`, async () => {
    const expected = await works.train.result();
    await rename(works.train.command.output, join(folder, 'trained'));
    const results: string[] = [];
    const report = await killLoop(works.train.command, {
      kills,
      seed: 7,
      onFinished: async () => {
        results.push(await works.train.result());
        await works.train.clear();
      },
    });
    expect(report.kills).toBe(kills);
    expect(report.finished).toBeGreaterThan(1);
    expect(report.files).toBeGreaterThan(50);
    expect(new Set([...results, expected]).size).toBe(1);
  });

  it('export, 4 times', async () => {
    await runUndisturbed(works.export.command);
    const expected = await works.export.result();
    await works.export.clear();
    const results: string[] = [];
    const report = await killLoop(works.export.command, {
      kills: 4,
      seed: 3,
      onFinished: async () => {
        results.push(await works.export.result());
        await works.export.clear();
      },
    });
    expect(report.kills).toBe(4);
    expect(report.finished).toBeGreaterThan(0);
    expect(new Set([...results, expected]).size).toBe(1);
  });
});
