import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { growth, type MemorySample } from './leak/samples.js';
import { calls, embeddings, exports, inFolder, trainSteps } from './leak/work.js';
import { nodeCommand, runSide } from './processes.js';

interface Work {
  readonly label: string;
  /** Steps or rounds for every 10,000 steps of training. */
  readonly count: number;
  run(folder: string, size: { readonly count: number; readonly every: number }): Promise<MemorySample[]>;
}

const works: Readonly<Record<string, Work>> = {
  train: {
    label: 'steps of `train`, 1 thread',
    count: 10_000,
    run: (folder, size) => trainSteps({ folder, ...size }),
  },
  threads: {
    label: 'steps of `train`, 2 threads',
    count: 10_000,
    run: (folder, size) => trainSteps({ folder, ...size }, 2),
  },
  export: { label: 'exports', count: 100, run: (folder, size) => exports({ folder, ...size }) },
  open: { label: 'models opened, used, closed', count: 200, run: (_, size) => embeddings(size) },
  calls: { label: 'calls of an open embedder', count: 5000, run: (_, size) => calls(size) },
};

const samplesOfWork = 20;

/** Prints what training, exporting and embedding hold after many rounds, each in a process of its own: node dist/bench/leak.js [--steps 10000]. */
async function main(): Promise<void> {
  const settings = await yargs(hideBin(process.argv))
    .option('steps', { type: 'number', default: 10_000, describe: 'of training; the rest in proportion' })
    .option('works', { type: 'string', default: Object.keys(works).join(',') })
    .option('work', { type: 'string', hidden: true })
    .strict()
    .parseAsync();
  if (settings.work !== undefined) return measure(settings.work, settings.steps);
  console.log(
    '| work | rounds | resident MB at 1/5 | at 1/2 | at the end | growth of resident, bytes a round | of held |\n|---|---:|---:|---:|---:|---:|---:|',
  );
  for (const name of settings.works.split(',')) {
    const { command, arguments: words } = nodeCommand(import.meta.url, './leak');
    const outcome = await runSide({
      label: name,
      command,
      arguments: [...words, '--work', name, '--steps', String(settings.steps)],
      environment: {},
      memoryLimitGb: 8,
    });
    if (outcome.status !== 'done') throw new Error(JSON.stringify(outcome));
    console.log(row(name, (outcome.report as unknown as { samples: MemorySample[] }).samples));
  }
}

function row(name: string, samples: readonly MemorySample[]): string {
  const megabytes = (share: number): string =>
    ((samples[Math.ceil(share * samples.length) - 1]?.resident ?? NaN) / 1e6).toFixed(1);
  // What is compiled and pooled on the way to the first fifth is no leak.
  const warm = samples.slice(Math.ceil(samples.length / 5) - 1);
  const bytes = (of: 'resident' | 'held'): string => Math.round(growth(warm, of)).toLocaleString('en');
  const { label } = works[name] as Work;
  const count = samples.at(-1)?.at ?? 0;
  return `| ${label} | ${count.toLocaleString('en')} | ${megabytes(0.2)} | ${megabytes(0.5)} | ${megabytes(1)} | ${bytes('resident')} | ${bytes('held')} |`;
}

async function measure(name: string, steps: number): Promise<void> {
  const work = works[name];
  if (work === undefined) throw new Error(`no work ${name}: ${Object.keys(works).join(', ')}`);
  const every = Math.max(1, Math.round((work.count * steps) / 10_000 / samplesOfWork));
  const folder = join(await mkdtemp(join(tmpdir(), 'lmvec-leak-')), 'x');
  const samples = await inFolder(join(folder, '..'), () =>
    work.run(folder, { count: every * samplesOfWork, every }),
  );
  for (const { at, resident, held } of samples)
    console.error(
      `${name} ${at}: resident ${(resident / 1e6).toFixed(1)} MB, held ${(held / 1e6).toFixed(2)} MB`,
    );
  console.log(JSON.stringify({ samples }));
}

await main();
