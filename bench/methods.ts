import { readFile } from 'node:fs/promises';
import type { Argv } from 'yargs';
import { loadTasks, type TaskSelection } from '../src/evaluation/sts.js';
import { loadEmbeddingModel } from '../src/pooling/load-model.js';
import { weightBytes } from '../src/pooling/trained-folder.js';
import { UserError } from '../src/shared/errors.js';
import { writeFileAtomic } from '../src/shared/files.js';
import { createLogger } from '../src/shared/logger.js';
import { baselineRows, measurePass, textsToTime } from './methods/measure.js';
import {
  averageOf,
  methodsMarkdown,
  type MethodReport,
  type MethodRow,
  type MethodSettings,
} from './methods/report.js';
import { waysOf } from './methods/ways.js';

export interface MethodsOptions extends TaskSelection {
  readonly model: string;
  readonly threads: number;
  /** Sentences that the time is taken over. */
  readonly timedTexts: number;
  /** The result as JSON. Rows that it holds already, of the same settings, are not measured again. */
  readonly output: string;
  readonly onRow?: (row: MethodRow) => void;
}

/** Measures every method that applies to an untrained decoder on sets of sentence pairs: score, and time for 1,000 sentences. */
export async function benchMethods(options: MethodsOptions): Promise<MethodReport> {
  const { model, tasks, folder, split, protocol, everyNthRow = 1, threads, output, onRow } = options;
  const selection: TaskSelection = { tasks, folder, split, protocol, everyNthRow };
  const bare = await loadEmbeddingModel(model);
  const timed = await textsToTime(selection, options.timedTexts);
  const settings: MethodSettings = {
    model,
    bytes: model === 'embedded' ? 0 : await weightBytes(model),
    tasks: (await loadTasks(selection)).map(({ name }) => name),
    split,
    protocol,
    everyNthRow,
    threads,
    timedTexts: timed.length,
  };
  const { passes, leftOut } = waysOf(bare);
  const rows = await rowsBefore(output, settings);
  const report = (): MethodReport => ({ settings, rows, leftOut });
  const keep = async (row: MethodRow): Promise<void> => {
    rows.push(row);
    onRow?.(row);
    await writeFileAtomic(output, `${JSON.stringify(report(), undefined, 2)}\n`);
  };
  const missing = (name: string): boolean => rows.every((row) => row.name !== name);
  for (const row of await baselineRows(selection)) if (missing(row.name)) await keep(row);
  for (const pass of passes) {
    const [first, ...others] = pass.filter(({ name }) => missing(name));
    if (first !== undefined)
      await measurePass([first, ...others], { bare, selection, threads, timedTexts: timed }, keep);
  }
  return report();
}

/** Rows of an earlier run that measured the same. */
async function rowsBefore(output: string, settings: MethodSettings): Promise<MethodRow[]> {
  const text = await readFile(output, 'utf8').catch(() => undefined);
  if (text === undefined) return [];
  const before = JSON.parse(text) as MethodReport;
  return JSON.stringify(before.settings) === JSON.stringify(settings) ? [...before.rows] : [];
}

const log = createLogger();

/** `npm run bench -- methods`. */
export function methodsCommand(root: Argv): Argv {
  return root.command(
    'methods',
    'Every method that embeds without training: score on sets of sentence pairs, and time; Markdown on standard output.',
    (command) =>
      command.options({
        model: { type: 'string', demandOption: true, describe: 'decoder: a GGUF file, a folder, embedded' },
        data: { type: 'string', default: 'embedded', describe: 'folder with one folder per set' },
        tasks: { type: 'string', default: 'all', describe: 'sets, joined by commas' },
        split: { choices: ['dev', 'test'] as const, default: 'test' as const },
        protocol: { choices: ['mteb', 'senteval'] as const, default: 'mteb' as const },
        every: { type: 'number', default: 1, describe: 'every n-th row of the sets' },
        threads: { type: 'number', default: 2 },
        timedTexts: { type: 'number', default: 500, describe: 'sentences that the time is taken over' },
        output: {
          type: 'string',
          default: 'runs/methods.json',
          describe: 'the result as JSON; an interrupted run goes on from it',
        },
      }),
    async (given) => {
      try {
        const report = await benchMethods({
          ...given,
          folder: given.data,
          tasks: given.tasks.split(','),
          everyNthRow: given.every,
          onRow: (row) => {
            const time = row.secondsPer1000 === null ? '' : `, ${row.secondsPer1000.toFixed(1)} s / 1,000`;
            log.info(`${row.name}: ${(100 * averageOf(row)).toFixed(2)}${time}`);
          },
        });
        console.log(methodsMarkdown(report));
      } catch (error) {
        console.error(error instanceof UserError ? error.message : error);
        process.exitCode = error instanceof UserError ? 2 : 1;
      }
    },
  );
}
