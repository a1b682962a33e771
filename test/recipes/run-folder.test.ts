import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { lockFolder, unlockFolder } from '../../src/recipes/lock.js';
import { appendMetrics, cutMetrics } from '../../src/recipes/metrics.js';
import { checkNewRunFolder, createRunFolder, resumeRunFolder } from '../../src/recipes/run-folder.js';
import { hashInputs, newRunRecord, readRunRecord, writeRunRecord } from '../../src/recipes/run-record.js';
import { runSchema, type RunConfig } from '../../src/recipes/schema.js';

let base = '';
let config: RunConfig;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'lmvec-run-'));
  const text = `{model: embedded, output: ${JSON.stringify(join(base, 'runs/x'))}, train: {memory: 2GB}, stages: {a: {objective: simcse, maxSteps: 1, batchTexts: 2, maxTokens: 8, learningRate: 1e-3}}}`;
  ({ config } = parseConfig(text, { file: 'x', overrides: [], schema: runSchema }));
});

describe('a run folder', () => {
  it('appears with its configuration, and is opened again with the same', async () => {
    const run = await createRunFolder(config, { overwrite: false });
    expect((await readdir(config.output)).sort()).toEqual(['config.resolved.yaml', 'lock.json']);
    await run.close();
    expect(await readdir(join(base, 'runs'))).toEqual(['x']);
    const again = await resumeRunFolder(config.output);
    expect(again.config).toEqual(config);
    expect(again.run.paths.checkpoints).toBe(join(config.output, 'checkpoints'));
    await again.run.close();
    expect(await readdir(config.output)).toEqual(['config.resolved.yaml']);
  });

  it('is not replaced without being told so', async () => {
    await (await createRunFolder(config, { overwrite: false })).close();
    await writeFile(join(config.output, 'metrics.jsonl'), 'kept');
    await expect(createRunFolder(config, { overwrite: false })).rejects.toThrow(
      /the output folder exists \(go on with it: --resume/,
    );
    await expect(checkNewRunFolder(config.output, false)).rejects.toThrow('the output folder exists');
    expect(await readFile(join(config.output, 'metrics.jsonl'), 'utf8')).toBe('kept');
    await (await createRunFolder(config, { overwrite: true })).close();
    expect(await readdir(config.output)).toEqual(['config.resolved.yaml']);
  });

  it('never replaces a folder that is something else, or a file', async () => {
    await mkdir(join(base, 'runs/x'), { recursive: true });
    await writeFile(join(base, 'runs/x/thesis.txt'), 'years of work');
    await expect(createRunFolder(config, { overwrite: true })).rejects.toThrow('was not made by lmvec train');
    await expect(resumeRunFolder(config.output)).rejects.toThrow('not a run folder');
    const file = { ...config, output: join(base, 'runs/x/thesis.txt') };
    await expect(createRunFolder(file, { overwrite: true })).rejects.toThrow('was not made by lmvec train');
    await expect(resumeRunFolder(join(base, 'nowhere'))).rejects.toThrow('run folder not found');
  });

  it('is not taken from a living process', async () => {
    const run = await createRunFolder(config, { overwrite: false });
    const sentence = `in use by process ${process.pid}`;
    await expect(resumeRunFolder(config.output)).rejects.toThrow(sentence);
    await expect(createRunFolder(config, { overwrite: true })).rejects.toThrow(sentence);
    expect(await readdir(join(base, 'runs'))).toEqual(['x']);
    await run.close();
    await (await resumeRunFolder(config.output)).run.close();
  });
});

describe('a lock', () => {
  const lock = (content: unknown) => writeFile(join(base, 'lock.json'), JSON.stringify(content));

  it('of a process that is gone is taken over', async () => {
    const child = spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' });
    await once(child, 'exit');
    await lock({ pid: child.pid, startTime: null });
    await lockFolder(base);
    expect(JSON.parse(await readFile(join(base, 'lock.json'), 'utf8'))).toMatchObject({ pid: process.pid });
    await unlockFolder(base);
    expect(await readdir(base)).toEqual([]);
  });

  it.runIf(process.platform === 'linux')('of an earlier process with the same id is taken over', async () => {
    await lock({ pid: process.pid, startTime: 'another boot/1' });
    await lockFolder(base);
    await unlockFolder(base);
  });

  it('that is not readable as one is taken over', async () => {
    await writeFile(join(base, 'lock.json'), '{"pid":');
    await lockFolder(base);
    await unlockFolder(base);
  });

  it('of a living process holds', async () => {
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)'], { stdio: 'ignore' });
    try {
      await lock({ pid: child.pid, startTime: null });
      await expect(lockFolder(base)).rejects.toThrow(`in use by process ${child.pid ?? 0}`);
      await unlockFolder(base);
      expect(await readdir(base)).toEqual(['lock.json']);
    } finally {
      child.kill();
    }
  });

  it('is won by one of many', async () => {
    await lock({ pid: 2 ** 22 + 5, startTime: null });
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => lockFolder(base)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    await unlockFolder(base);
    expect(await readdir(base)).toEqual([]);
  });
});

describe('metrics', () => {
  it('are one JSON line each, and are cut at the place that a resumed run goes on from', async () => {
    const path = join(base, 'metrics.jsonl');
    const lines: [string, number][] = [
      ['a', 0],
      ['a', 1],
      ['a', 2],
      ['b', 1],
      ['b', 2],
      ['b', 3],
    ];
    for (const [stage, step] of lines) appendMetrics(path, { kind: 'step', stage, step, loss: NaN });
    await writeFile(path, '{"kind":"step","stage":"b","st', { flag: 'a' });

    await cutMetrics(path, ['a', 'b'], { stage: 'b', step: 2 });
    const kept = (await readFile(path, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(kept.map(({ stage, step }) => [stage, step])).toEqual(lines.slice(0, 5));
    expect(kept[0]).toMatchObject({ kind: 'step', loss: null });

    await cutMetrics(path, ['a', 'b'], { stage: 'a', step: 1 });
    expect((await readFile(path, 'utf8')).split('\n')).toHaveLength(3);
    await cutMetrics(path, ['a', 'b'], undefined);
    expect(await readFile(path, 'utf8')).toBe('');
  });
});

describe('the record of a run', () => {
  it('holds versions, seed and hashes, and is read back', async () => {
    await writeFile(join(base, 'corpus.txt'), 'abc');
    const inputs = [...(await hashInputs(join(base, 'corpus.txt'))), ...(await hashInputs(base))];
    expect(inputs).toHaveLength(2);
    expect(inputs[0]).toEqual({
      path: join(base, 'corpus.txt'),
      bytes: 3,
      sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    });
    const record = newRunRecord({ seed: 7, inputs, texts: { kept: 1, decontaminated: 0 } });
    expect(record.dependencies['onnxruntime-node']).toMatch(/^\d/);
    const path = join(base, 'run.json');
    expect(await readRunRecord(path)).toBeUndefined();
    await writeRunRecord(path, record);
    expect(await readRunRecord(path)).toEqual(record);
  });
});
