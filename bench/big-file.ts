import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGzip } from 'node:zlib';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { randomStream } from '../src/shared/random.js';
import { nodeCommand } from './processes.js';

const objectives = ['simcse', 'mntp'] as const;
const formats = ['txt', 'jsonl', 'txt.gz', 'jsonl.gz'] as const;

/** Writes a file of some gigabytes of text, trains a few steps of the embedded decoder on it, and reports seconds and peak memory. */
async function main(): Promise<void> {
  const { gigabytes, objective, format } = await yargs(hideBin(process.argv))
    .option('gigabytes', { type: 'number', default: 5, describe: 'before compression' })
    .option('objective', { choices: objectives, default: objectives[0] })
    .option('format', { choices: formats, default: formats[0] })
    .strict()
    .parseAsync();
  const folder = await mkdtemp(join(tmpdir(), 'lmvec-big-'));
  try {
    const data = join(folder, `big.${format}`);
    await writeTexts(data, gigabytes * 1e9);
    const config = join(folder, 'run.yaml');
    await writeFile(config, runOn(data, { objective, output: join(folder, 'run') }));
    const run = await measured(['train', '--config', config], folder);
    console.log(JSON.stringify({ format, bytes: (await stat(data)).size, objective, ...run }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function runOn(
  data: string,
  { objective, output }: { readonly objective: string; readonly output: string },
): string {
  return `
model: embedded
data: { train: ${data} }
stages:
  only: { objective: ${objective}, maxSteps: 5, batchTexts: 32, maxTokens: 64, learningRate: 1e-4 }
evaluate: { everySteps: 5, everyNthRow: 20 }
export: { files: [] }
output: ${output}
`;
}

interface MeasuredRun {
  readonly status: number | null;
  /** When the first step was done. */
  readonly firstStepSeconds: number;
  readonly seconds: number;
  readonly peakGigabytes: number;
}

/** Runs lmvec and watches its resident size (VmHWM) and its run folder's metrics. */
async function measured(words: readonly string[], folder: string): Promise<MeasuredRun> {
  const start = performance.now();
  const elapsed = (): number => Math.round((performance.now() - start) / 100) / 10;
  const { command, arguments: before } = nodeCommand(import.meta.url, '../scripts/lmvec');
  const child = spawn(command, [...before, ...words], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, TMPDIR: folder },
  });
  let peak = 0;
  let firstStepSeconds = NaN;
  const watch = setInterval(() => {
    void readFile(`/proc/${child.pid ?? 0}/status`, 'utf8')
      .then((text) => (peak = Math.max(peak, Number(/^VmHWM:\s+(\d+) kB/m.exec(text)?.[1] ?? 0))))
      .catch(() => undefined);
    if (!Number.isNaN(firstStepSeconds)) return;
    void readFile(join(folder, 'run/metrics.jsonl'), 'utf8')
      .then((text) => {
        if (text.includes('"kind":"step"')) firstStepSeconds = elapsed();
      })
      .catch(() => undefined);
  }, 200);
  const [status] = (await once(child, 'close')) as [number | null];
  clearInterval(watch);
  return {
    status,
    firstStepSeconds,
    seconds: elapsed(),
    peakGigabytes: Math.round((peak * 1024) / 1e7) / 100,
  };
}

/** Lines of 5 to 24 made-up words, as they are or as JSON; one in fifty is one that was there before. */
async function writeTexts(path: string, bytes: number): Promise<void> {
  const random = randomStream(1);
  const words = Array.from({ length: 20_000 }, () =>
    Array.from({ length: 2 + random.integer(8) }, () => String.fromCharCode(97 + random.integer(26))).join(
      '',
    ),
  );
  const json = path.includes('.jsonl');
  const file = createWriteStream(path);
  const into = path.endsWith('.gz') ? createGzip({ level: 1 }) : file;
  if (into !== file) into.pipe(file);
  for (let written = 0, state = 1; written < bytes;) {
    const lines: string[] = [];
    for (let line = 0; line < 5000; line++) {
      const text: string[] = [];
      for (let left = 5 + (state % 20); left > 0; left--) {
        // A quick generator: randomStream would take most of the time.
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        text.push(words[(state >>> 8) % words.length] ?? '');
      }
      const sentence = line % 50 === 0 ? 'the same line again and again' : text.join(' ');
      lines.push(json ? JSON.stringify({ text: sentence }) : sentence);
    }
    const block = `${lines.join('\n')}\n`;
    written += block.length;
    if (!into.write(block)) await once(into, 'drain');
  }
  into.end();
  await once(file, 'close');
}

await main();
