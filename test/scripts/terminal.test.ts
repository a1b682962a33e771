import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { smallRun } from '../../bench/kills/work.js';
import { root } from './command.js';
import { screenOf } from './screen.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const hasScript = spawnSync('script', ['--version']).status === 0;
if (!hasScript) console.warn('no script (util-linux): lmvec train is not looked at on a terminal');

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-terminal-'));
  const texts = Array.from({ length: 20 }, (_, i) => `the cat ${i} sat on that mat`);
  await writeFile(join(folder, 'texts.txt'), `${texts.join('\n')}\n`);
  const run = smallRun(join(root, 'test/golden/llama/base'), join(root, 'assets/wordnet-sts/dev.tsv'));
  await writeFile(join(folder, 'run.yaml'), run);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs lmvec on a pseudo-terminal and gives back everything that was sent to it. */
function onTerminal(
  words: readonly string[],
  columns: number,
): Promise<{ sent: string; status: number | null }> {
  const lmvec = [
    process.execPath,
    '--import',
    import.meta.resolve('tsx'),
    join(root, 'scripts/lmvec.ts'),
    ...words,
  ];
  const command = `stty cols ${columns} rows 40; ${lmvec.map((word) => `'${word}'`).join(' ')}`;
  return new Promise((resolve, reject) => {
    const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TERM: 'xterm', SHELL: '/bin/sh' },
    });
    let sent = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (sent += text));
    child.once('error', reject);
    child.once('close', (status) => resolve({ sent, status }));
  });
}

const live = /^(mntp|simcse) step (\d)\/3 {2}loss \d+\.\d{4} {2}[\d,]+ tokens\/s {2}ETA \d+:\d\d$/;

describe.skipIf(!hasScript)('lmvec train on a terminal', () => {
  it('shows one live line, messages above it, and the table below it', async () => {
    const { sent, status } = await onTerminal(['train', '--config', 'run.yaml', 'export.files=[]'], 100);
    expect(status).toBe(0);
    // What a person sees at each moment: the live line comes last, and there is never a second one.
    const moments = sent.split('\u001b[2K').slice(0, -1);
    const shown = new Set<string>();
    for (const [index] of moments.entries()) {
      const screen = screenOf(moments.slice(0, index + 1).join('\u001b[2K'), 100).filter(
        (line) => line !== '',
      );
      const lines = screen.filter((line) => live.test(line));
      expect(lines.length).toBeLessThanOrEqual(1);
      for (const line of lines) {
        expect(screen.at(-1)).toBe(line);
        shown.add(line.split('  ')[0] ?? '');
      }
    }
    expect([...shown].slice(0, 5)).toEqual([
      'mntp step 1/3',
      'mntp step 2/3',
      'mntp step 3/3',
      'simcse step 1/3',
      'simcse step 2/3',
    ]);

    const screen = screenOf(sent, 100).filter((line) => line !== '');
    const places = screen.flatMap((line, index) => (live.test(line) ? [index] : []));
    expect(places).toHaveLength(1);
    expect(screen[places[0]!]).toMatch(/^simcse step 3\/3 .*ETA 0:00$/);
    const messages = screen
      .filter((line) => /^\[\d\d:\d\d:\d\d\] INFO: /.test(line))
      .map((line) => line.slice(17));
    expect(messages.map((line) => line.split(':')[0])).toEqual([
      'mntp step 0',
      'mntp step 1',
      'mntp step 2',
      'mntp step 3',
      'simcse step 1',
      'simcse step 2',
      'simcse step 3',
    ]);
    expect(screen.slice(places[0]! + 1).join('\n')).toMatch(
      /before training[\s\S]*best against before training: /,
    );
  });

  it('on a narrow one the live line stays one line', async () => {
    const { sent, status } = await onTerminal(
      ['train', '--config', 'run.yaml', 'output=narrow', 'export.files=[]', 'evaluate.everySteps=100'],
      30,
    );
    expect(status).toBe(0);
    const updates = sent
      .split('\u001b[2K')
      .slice(1)
      .filter((text) => /^(mntp|simcse) step /.test(text));
    expect(updates.length).toBeGreaterThanOrEqual(6);
    // eslint-disable-next-line no-control-regex
    for (const text of updates) expect(/^[^\r\n\u001b]*/.exec(text)?.[0]).toHaveLength(29);
  });
});
