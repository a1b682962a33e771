import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { smallRun } from '../../bench/kills/work.js';
import { latestCheckpoint, readCheckpoint } from '../../src/training/checkpoint.js';
import { lmvec, root, type CommandOptions, type CommandResult } from './command.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

let folder = '';
const mounted: string[] = [];

const train = (output: string, options: Partial<CommandOptions> = {}): Promise<CommandResult> =>
  lmvec(['train', '--config', 'run.yaml', `output=${output}`, 'export.files=[]'], {
    cwd: folder,
    ...options,
  });
const resume = (output: string): Promise<CommandResult> =>
  lmvec(['train', '--resume', output], { cwd: folder });
const weightsOf = (output: string): Promise<string> =>
  readFile(join(output, 'last/adapter_model.safetensors'), 'hex');
/** Calls `act` once, as soon as standard error tells of a step. */
const atStep = (
  step: string,
  act: (kill: (signal: NodeJS.Signals) => void) => void,
): Pick<CommandOptions, 'onError'> => {
  let acted = false;
  return {
    onError: (soFar, kill) => {
      if (acted || !soFar.includes(step)) return;
      acted = true;
      act(kill);
    },
  };
};

/** A small file system in memory, where this machine lets us mount one. */
function mountSmall(name: string): string | undefined {
  const path = join(folder, name);
  try {
    execFileSync('mkdir', ['-p', path]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', path], { stdio: 'ignore' });
    mounted.push(path);
    return path;
  } catch {
    console.warn(
      'no file system can be mounted here: the tests of a full disk and of a read-only folder are skipped',
    );
    return undefined;
  }
}

const oneSentence = ({ status, stderr }: Pick<CommandResult, 'status' | 'stderr'>, pattern: RegExp): void => {
  expect(stderr.trimEnd().split('\n').at(-1)).toMatch(pattern);
  expect(stderr).not.toMatch(/^\s+at |internal:/m);
  expect(status).toBe(2);
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-trouble-'));
  const texts = Array.from(
    { length: 40 },
    (_, i) => `the cat ${String(i)} sat on ${'that mat '.repeat(i % 4)}end`,
  );
  await writeFile(join(folder, 'texts.txt'), `${texts.join('\n')}\n`);
  await writeFile(
    join(folder, 'run.yaml'),
    smallRun(join(root, 'test/golden/llama/base'), join(root, 'assets/wordnet-sts/dev.tsv')),
  );
  expect((await train('undisturbed')).status).toBe(0);
});
afterAll(async () => {
  for (const path of mounted) execFileSync('umount', [path]);
  await rm(folder, { recursive: true, force: true });
});

describe('trouble under way', () => {
  it('SIGTERM saves and says how to go on', async () => {
    const stopped = await train(
      'stopped',
      atStep('mntp step 1/3', (kill) => kill('SIGTERM')),
    );
    expect(stopped.stderr).toMatch(
      /interrupted at step \d of stage \w+; go on with: lmvec train --resume stopped/,
    );
    expect(stopped.status).toBe(130);
    expect((await resume('stopped')).status).toBe(0);
    expect(await weightsOf(join(folder, 'stopped'))).toBe(await weightsOf(join(folder, 'undisturbed')));
  });

  it('the folder is deleted: one sentence, and no half folder in its place', async () => {
    const gone = join(folder, 'gone');
    const result = await train(
      'gone',
      // Renamed, which is gone at once: deleting file by file meets the files that the run still writes.
      atStep('mntp step 1/3', () => void rename(gone, join(folder, 'away'))),
    );
    oneSentence(result, /gone.*(no such file or folder|deleted)/);
    expect(await readdir(gone).catch(() => [])).not.toContain('config.resolved.yaml');
  });

  it('a second run into the folder is refused, and the first goes on', async () => {
    let second: Promise<CommandResult> | undefined;
    const first = await train(
      'shared',
      atStep('mntp step 1/3', () => {
        second = resume('shared');
      }),
    );
    expect(first.status).toBe(0);
    const refused = await second!;
    // Where the first was faster than the second could start, there is nothing left to resume.
    if (refused.status === 0) expect(refused.stderr).toContain('is finished: there is nothing to resume');
    else oneSentence(refused, /shared: the run folder is in use by process \d+ \(wait for it, or end it\)/);
    expect(await weightsOf(join(folder, 'shared'))).toBe(await weightsOf(join(folder, 'undisturbed')));
  });
});

describe('no room and no right to write', () => {
  it('a full disk: one sentence, the last checkpoint intact, and the run goes on when there is room', async (context) => {
    const disk = mountSmall('small');
    if (disk === undefined) return context.skip();
    const output = join(disk, 'run');
    const filler = join(disk, 'filler');
    const result = await train(
      output,
      atStep('mntp step 2/3', () => void fill(disk, filler)),
    );
    oneSentence(result, /no space is left/);
    const place = await latestCheckpoint(join(output, 'checkpoints'), ['mntp', 'simcse']);
    expect(place).toBeDefined();
    expect((await readCheckpoint(place!.path)).step).toBe(place!.step);
    await rm(filler);
    expect((await resume(output)).status).toBe(0);
    expect(await weightsOf(output)).toBe(await weightsOf(join(folder, 'undisturbed')));
    const leftovers = (await readdir(output, { recursive: true })).filter((name) =>
      /\.(tmp|old)$/.test(name),
    );
    expect(leftovers).toEqual([]);
  });

  it('a full disk, whatever is written: one sentence that names it, nothing half-written, and mining goes on', async (context) => {
    const disk = mountSmall('full');
    if (disk === undefined) return context.skip();
    const filler = join(disk, 'filler');
    const lines = Array.from({ length: 300 }, (_, i) => `the cat ${i} sat`);
    await writeFile(join(folder, 'lines.txt'), `${lines.join('\n')}\n`);
    await writeFile(
      join(folder, 'pairs.tsv'),
      `query\tpositive\n${lines.map((line) => `${line}\t${line} on that mat\n`).join('')}`,
    );
    const model = join(root, 'test/golden/llama/base');
    const sets = ['--tasks', 'WordNetSTS', '--every-nth-row', '20'];
    const works: Readonly<Record<string, readonly string[]>> = {
      'vectors.jsonl': ['embed', '--input', 'lines.txt'],
      'vectors.npy': ['embed', '--input', 'lines.txt'],
      embedder: ['export'],
      results: ['evaluate', ...sets],
      'mined.jsonl': ['mine', '--input', 'pairs.tsv'],
    };
    const run = (name: string, output: string): Promise<CommandResult> =>
      lmvec([...works[name]!, '--model', model, '--output', join(output, name)], { cwd: folder });
    await fill(disk, filler);
    for (const name of Object.keys(works).reverse()) {
      // What mining has found until then fits in.
      if (name !== 'mined.jsonl') await fill(disk, join(disk, 'filler2'), 0);
      oneSentence(await run(name, disk), new RegExp(`full/${name}.*: no space is left`));
      await rm(join(disk, 'filler2'), { force: true });
    }
    // The folders of results are there, empty.
    const left = (await readdir(disk, { recursive: true, withFileTypes: true })).filter((entry) =>
      entry.isFile(),
    );
    expect(left.filter(({ parentPath }) => !parentPath.endsWith('.work')).map(({ name }) => name)).toEqual([
      'filler',
    ]);
    await rm(filler);
    expect((await run('mined.jsonl', disk)).status).toBe(0);
    expect((await run('mined.jsonl', folder)).status).toBe(0);
    const [there, here] = await Promise.all(
      [disk, folder].map((at) => readFile(join(at, 'mined.jsonl'), 'utf8')),
    );
    expect(there).toBe(here);
  });

  it('standard output that takes nothing more', () => {
    const words = `embed --model ${join(root, 'test/golden/llama/base')} --input texts.txt > /dev/full`;
    const script = `${process.execPath} --import ${import.meta.resolve('tsx')} ${join(root, 'scripts/lmvec.ts')} ${words}`;
    const result = spawnSync('sh', ['-c', script], { cwd: folder, encoding: 'utf8' });
    oneSentence(result, /^standard output: cannot write: no space is left$/);
  });

  it('a read-only folder', async (context) => {
    const disk = mountSmall('read-only');
    if (disk === undefined) return context.skip();
    await mkdir(join(disk, 'there'));
    execFileSync('mount', ['-o', 'remount,ro', disk]);
    oneSentence(await train(join(disk, 'run')), /read-only.*the file system is read-only/);
  });
});

/** Leaves a few kilobytes, or nothing. */
async function fill(disk: string, path: string, left = 8192): Promise<void> {
  const { bavail, bsize } = await statfs(disk);
  await writeFile(path, Buffer.alloc(Math.max(0, bavail * bsize - left)));
}
