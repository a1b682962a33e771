import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { fuzzedFormats } from './fuzz/formats.js';
import { mutated } from './fuzz/mutate.js';
import type { FuzzJob, FuzzMessage } from './fuzz/worker.js';
import { nodeCommand } from './processes.js';

/** Inputs that one process reads before a fresh one goes on: a leak shows, and does not add up. */
const perProcess = 20_000;
/** Of processor time: a busy machine is no hang. */
const longestInputSeconds = 20;
const mostMegabytes = 1024;

interface Tally {
  inputs: number;
  refused: number;
  read: number;
  peakMegabytes: number;
  readonly found: { readonly index: number; readonly error: string }[];
}

/** Reads mutated inputs of every format in child processes: each must be read or refused with a sentence, in time and in 1 GB. */
async function main(): Promise<void> {
  const settings = await yargs(hideBin(process.argv))
    .option('count', { type: 'number', default: 70_000, describe: 'inputs of each format' })
    .option('first', { type: 'number', default: 0, describe: 'number of the first one' })
    .option('seed', { type: 'number', default: 1 })
    .option('formats', { type: 'string', default: Object.keys(fuzzedFormats).join(',') })
    .option('output', {
      type: 'string',
      default: 'runs/fuzz',
      describe: 'folder for the inputs that are found',
    })
    .strict()
    .parseAsync();
  console.log(
    '| format | inputs | read | refused | found | seconds | peak MB |\n|---|---:|---:|---:|---:|---:|---:|',
  );
  let found = 0;
  for (const format of settings.formats.split(',')) {
    const start = performance.now();
    const tally: Tally = { inputs: 0, refused: 0, read: 0, peakMegabytes: 0, found: [] };
    const end = settings.first + settings.count;
    for (let first = settings.first; first < end;)
      first = await runProcess(
        { format, seed: settings.seed, first, last: Math.min(end, first + perProcess) },
        tally,
      );
    const seconds = (performance.now() - start) / 1000;
    console.log(
      `| ${format} | ${tally.inputs} | ${tally.read} | ${tally.refused} | ${tally.found.length} | ${seconds.toFixed(0)} | ${tally.peakMegabytes.toFixed(0)} |`,
    );
    for (const one of tally.found.slice(0, 20))
      await keep(format, settings.seed, { ...one, output: settings.output });
    found += tally.found.length;
  }
  process.exitCode = found === 0 ? 0 : 1;
}

/** Runs a job until it is done or one of its inputs ends the process; returns where to go on. */
function runProcess(job: FuzzJob, tally: Tally): Promise<number> {
  return new Promise((resolve, reject) => {
    const {
      arguments: [...words],
    } = nodeCommand(import.meta.url, './fuzz/worker');
    const script = words.pop() ?? '';
    const child = fork(script, [], {
      execArgv: [...words, `--max-old-space-size=${mostMegabytes}`],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let at = job.first;
    let began = 0;
    let done = false;
    let reason = '';
    let tail = '';
    child.stderr?.on('data', (text: Buffer) => (tail = (tail + text.toString()).slice(-2000)));
    const watch = setInterval(() => {
      if (cpuSeconds(child.pid) - began < longestInputSeconds) return;
      reason = `no answer in ${longestInputSeconds} s of processor time`;
      child.kill('SIGKILL');
    }, 1000);
    child.on('message', (message) => {
      const told = message as FuzzMessage;
      if ('at' in told) {
        at = told.at;
        // Asking the system each time would cost more than the inputs.
        if (at % 64 === 0 || began === 0) began = cpuSeconds(child.pid);
      } else if ('found' in told) tally.found.push({ index: told.found, error: told.error });
      else {
        done = true;
        tally.refused += told.refused;
        tally.read += told.read;
        tally.peakMegabytes = Math.max(tally.peakMegabytes, told.peakMegabytes);
        if (told.peakMegabytes > mostMegabytes)
          tally.found.push({
            index: job.first,
            error: `${told.peakMegabytes} MB between here and ${job.last}`,
          });
      }
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearInterval(watch);
      tally.inputs += (done ? job.last : at + 1) - job.first;
      if (!done)
        tally.found.push({
          index: at,
          error: reason || `the process ended: ${String(code ?? signal)} ${tail}`,
        });
      resolve(done ? job.last : at + 1);
    });
    child.send(job);
  });
}

/** Processor time of a process so far; 0 where the system does not tell. */
function cpuSeconds(pid: number | undefined): number {
  try {
    const text = readFileSync(`/proc/${pid ?? 0}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

async function keep(
  format: string,
  seed: number,
  { index, error, output }: { readonly index: number; readonly error: string; readonly output: string },
): Promise<void> {
  console.error(`${format} ${index}: ${error.split('\n').slice(0, 6).join('\n  ')}`);
  const parts = mutated((await fuzzedFormats[format]?.originals()) ?? [], seed, index);
  for (const [name, bytes] of Object.entries(parts)) {
    const path = join(output, format, String(index), name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
  }
}

await main();
