import { spawn } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import type { ModelOptions } from '../src/recipes/open-model.js';
import { UserError } from '../src/shared/errors.js';
import { exists, writeFileAtomic } from '../src/shared/files.js';
import { nodeCommand } from './processes.js';
import {
  comparisons,
  minedPath,
  realRuns,
  trainWords,
  tripleFiles,
  untouched,
  type RealRun,
  type RunSettings,
} from './real/runs.js';
import { keptResults, markdownReport, type NamedRow } from './real/scores.js';

/**
 * Supervised against unsupervised training, latent attention and special tokens against mean pooling, mined against random negatives: the runs
 * one after the other, then STSb dev of all of them with paired bootstrap. What is finished is not done again.
 */
async function main(): Promise<void> {
  const settings = await yargs(hideBin(process.argv))
    .scriptName('node dist/bench/real-supervised.js')
    .options({
      model: {
        type: 'string',
        demandOption: true,
        describe: 'decoder: a GGUF file or a Hugging Face folder',
      },
      data: { type: 'string', demandOption: true, describe: 'folder with SNLI/, STSb/ and the other sets' },
      output: { type: 'string', demandOption: true, describe: 'folder of the runs' },
      only: { type: 'string', describe: 'names of runs, joined by commas' },
      test: { type: 'string', describe: 'names of runs, joined by commas: their test sets, at the very end' },
      steps: { type: 'number', describe: 'of every run, in the place of its own: to try it out' },
      everyNthRow: { type: 'number', default: 1, describe: 'of the dev set in the table' },
    })
    .strict()
    .parseAsync();
  const { model, data, output, steps } = settings;
  const runs: RunSettings = { model, data, output, ...(steps === undefined ? {} : { steps }) };
  const only = namesOf(settings.only);
  const chosen = realRuns(runs).filter(({ name }) => only === undefined || only.includes(name));
  await mkdir(join(output, 'scores'), { recursive: true });
  for (const run of chosen) await makeRun(run, runs);
  const counts = await Promise.all(chosen.map(({ name, title }) => countsLine(join(output, name), title)));
  const dev = {
    tasks: ['STSb'],
    folder: data,
    split: 'dev',
    protocol: 'mteb',
    everyNthRow: settings.everyNthRow,
  } as const;
  const rowsOf = async (
    names: readonly string[] | undefined,
    selection: typeof dev | TestSelection,
  ): Promise<NamedRow[]> => {
    const rows: NamedRow[] = [];
    for (const { name, title, options } of models(chosen, runs)) {
      if (names !== undefined && !names.includes(name)) continue;
      const kept = join(output, 'scores', `${name}.${selection.split}-${selection.everyNthRow}.json`);
      rows.push({ key: name, name: title, results: await keptResults(kept, options, selection) });
    }
    return rows;
  };
  const parts = [counts.join('\n'), markdownReport(await rowsOf(undefined, dev), comparisons)];
  const tested = namesOf(settings.test);
  if (tested !== undefined) {
    const selection: TestSelection = { ...dev, tasks: ['all'], split: 'test', everyNthRow: 1 };
    parts.push(markdownReport(await rowsOf(tested, selection), comparisons));
  }
  const report = `${parts.join('\n\n')}\n`;
  await writeFileAtomic(join(output, 'report.md'), report);
  process.stdout.write(report);
}

interface TestSelection {
  readonly tasks: readonly string[];
  readonly folder: string;
  readonly split: 'test';
  readonly protocol: 'mteb';
  readonly everyNthRow: number;
}

function namesOf(given: string | undefined): string[] | undefined {
  return given?.split(',').map((name) => name.trim());
}

/** The untouched decoder, then each run's best. */
function models(
  runs: readonly RealRun[],
  { model, output }: RunSettings,
): { readonly name: string; readonly title: string; readonly options: ModelOptions }[] {
  return [
    ...untouched.map(({ name, title, method }) => ({ name, title, options: { model, method } })),
    ...runs.map(({ name, title }) => ({ name, title, options: { model: join(output, name, 'best') } })),
  ];
}

/** Begins a run, goes on with it, or leaves it as it is where it is finished. */
async function makeRun(run: RealRun, settings: RunSettings): Promise<void> {
  const folder = join(settings.output, run.name);
  if ((await recordOf(folder))?.status === 'finished') return;
  const mined = minedPath(settings);
  if (run.mined === true && !(await exists(mined))) {
    const input = tripleFiles(settings).join(',');
    const method = ['--method', 'prompt-eol', '--query', 'anchor', '--positive', 'positive'];
    await lmvec([
      'mine',
      '--model',
      settings.model,
      ...method,
      '--input',
      input,
      '--negatives',
      '1',
      '--output',
      mined,
    ]);
  }
  const begun = await exists(join(folder, 'config.resolved.yaml'));
  await lmvec(begun ? ['train', '--resume', folder] : trainWords(run, settings));
}

/** One command of the program; what it prints goes to standard error. */
async function lmvec(words: readonly string[]): Promise<void> {
  const node = nodeCommand(import.meta.url, '../scripts/lmvec');
  process.stderr.write(`lmvec ${words.join(' ')}\n`);
  const child = spawn(node.command, [...node.arguments, ...words], { stdio: ['ignore', 2, 2] });
  const code = await new Promise<number | null>((resolve, reject) =>
    child.once('error', reject).once('close', resolve),
  );
  if (code !== 0) throw new UserError(`lmvec ${words[0] ?? ''} ended with exit code ${String(code)}`);
}

interface Recorded {
  readonly status: string;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly texts: { readonly kept: number; readonly decontaminated: number };
  readonly examples?: { readonly [set: string]: { readonly kept: number; readonly decontaminated: number } };
}

async function recordOf(folder: string): Promise<Recorded | undefined> {
  const text = await readFile(join(folder, 'run.json'), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Recorded);
}

async function countsLine(folder: string, title: string): Promise<string> {
  const record = await recordOf(folder);
  if (record === undefined) return `- ${title}: not run`;
  const { kept, decontaminated } = Object.values(record.examples ?? {})[0] ?? record.texts;
  const minutes = (Date.parse(record.finishedAt ?? '') - Date.parse(record.startedAt)) / 60_000;
  return `- ${title}: ${kept} used, ${decontaminated} left out for texts of evaluation sets; ${minutes.toFixed(1)} minutes`;
}

await main().catch((error: unknown) => {
  console.error(error instanceof UserError ? error.message : error);
  process.exitCode = error instanceof UserError ? 2 : 1;
});
