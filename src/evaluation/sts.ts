import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dataFormatOf, tableEndings } from '../data/rows.js';
import { nearest, userError } from '../shared/errors.js';
import { exists, statOrUserError } from '../shared/files.js';
import { readSentencePairs, readSubsetLabels } from './sentence-pairs.js';

/** Which text of a set is read: SentEval's tokenised, lower-cased one, or the original one that MTEB uses. */
export type Protocol = 'senteval' | 'mteb';
export const protocols = ['senteval', 'mteb'] as const satisfies readonly Protocol[];
export type Split = 'dev' | 'test' | 'train';
export const splits = ['dev', 'test', 'train'] as const satisfies readonly Split[];

/** The sets of every STS report, in its order. */
export const stsTasks = ['STS12', 'STS13', 'STS14', 'STS15', 'STS16', 'STSb', 'SICK-R'] as const;
export type StsTaskName = (typeof stsTasks)[number];
/** The set that ships with lmvec, derived from WordNet's structure. */
export const embeddedTask = 'WordNetSTS';
/** Stands for those of the seven that are at hand. */
export const allTasks = 'all';
/** As `folder`: the sets that ship with lmvec. */
export const embeddedFolder = 'embedded';

const aliases: ReadonlyMap<string, string> = new Map([
  ...[...stsTasks, embeddedTask].map((name) => [name.toLowerCase(), name] as const),
  ['stsbenchmark', 'STSb'],
  ['sts-b', 'STSb'],
  ['sickr', 'SICK-R'],
]);

/** One split of one evaluation set, read and checked. */
export interface StsTask {
  readonly name: string;
  readonly split: Split;
  /** `file` where a set has one text only (the embedded set, a file of the user): no public protocol applies. */
  readonly protocol: Protocol | 'file';
  readonly file: string;
  /** SHA-256 of the file, hexadecimal. */
  readonly sha256: string;
  readonly everyNthRow: number;
  readonly gold: Float64Array;
  readonly first: readonly string[];
  readonly second: readonly string[];
  /** One label per pair, where the set has subsets. */
  readonly subsets?: readonly string[];
}

export interface TaskSelection {
  /** Names (STS12 ... SICK-R, STSBenchmark, WordNetSTS, `all`) or paths of files with the columns score, sentence1, sentence2. */
  readonly tasks: readonly string[];
  /** Laid out as `STS15/test.tsv`, `test.senteval-tokenized.tsv`, `test.subset.txt` (or .csv, .jsonl, .parquet, packed or not); or `embedded`. */
  readonly folder: string;
  readonly split: Split;
  readonly protocol: Protocol;
  /** Reads rows 1, 1 + n, 1 + 2n, ... only (default 1: all of them). */
  readonly everyNthRow?: number;
}

/**
 * Reads the selected sets; `all` takes those of the seven that are at hand, a set asked for by name must be there.
 * @throws a user error that names the file (and line) for what is missing or broken.
 */
export async function loadTasks(selection: TaskSelection): Promise<StsTask[]> {
  const names = await expandTasks(selection);
  const tasks: StsTask[] = [];
  for (const name of names) tasks.push(await loadTask(name, selection));
  const twice = tasks.find((task, i) => tasks.findIndex((other) => other.name === task.name) !== i);
  if (twice !== undefined)
    throw userError({ what: `two evaluation sets are named ${twice.name}`, where: twice.file });
  return tasks;
}

/** All texts of the named sets, each once: every split and both protocols that are at hand. For `decontaminate`. */
export async function taskTexts(tasks: readonly string[], folder: string): Promise<string[]> {
  const texts = new Set<string>();
  for (const task of tasks.flatMap((name) => (name === allTasks ? everyTask(folder) : [name]))) {
    const files = await filesOf(task, folder);
    if (files.length === 0 && !tasks.includes(allTasks)) throw await missingTask(task, folder);
    for (const file of files) {
      const { first, second } = await readSentencePairs(file);
      for (const text of [...first, ...second]) texts.add(text);
    }
  }
  return [...texts];
}

function everyTask(folder: string): readonly string[] {
  return folder === embeddedFolder ? [embeddedTask] : stsTasks;
}

async function expandTasks({ tasks, folder, split, protocol }: TaskSelection): Promise<string[]> {
  if (tasks.length === 0)
    throw userError({ what: 'no evaluation sets given', expected: stsTasks.join(', ') });
  if (!tasks.includes(allTasks)) return [...new Set(tasks.map(canonicalTask))];
  if (folder === embeddedFolder) return [...everyTask(folder)];
  await statOrUserError(folder, 'folder of evaluation sets');
  const atHand: string[] = [];
  for (const name of stsTasks) {
    if (await exists(await fileOf(name, { folder, split, protocol }))) atHand.push(name);
  }
  if (atHand.length === 0) {
    throw userError({
      what: 'no evaluation set found',
      where: folder,
      expected: `files such as ${await fileOf('STSb', { folder: '.', split, protocol })}`,
    });
  }
  return [...new Set([...atHand, ...tasks.filter((task) => task !== allTasks).map(canonicalTask)])];
}

/** The set's own name for any spelling of it; a path stays a path. @throws a user error with the nearest name. */
export function canonicalTask(task: string): string {
  if (isPath(task)) return task;
  const name = aliases.get(task.toLowerCase());
  if (name !== undefined) return name;
  const guess = nearest(task, [...stsTasks, 'STSBenchmark', embeddedTask]);
  throw userError({
    what: 'unknown evaluation set',
    got: task,
    expected: `${[...stsTasks, embeddedTask].join(', ')}, ${allTasks}, or the path of a .tsv, .csv, .jsonl or .parquet file`,
    ...(guess === undefined ? {} : { hint: `did you mean ${guess}?` }),
  });
}

/** Whether a name is another spelling of a set's name. */
export function sameTask(name: string, task: string): boolean {
  return aliases.get(name.toLowerCase()) === task;
}

async function loadTask(task: string, selection: TaskSelection): Promise<StsTask> {
  const { folder, split, protocol, everyNthRow = 1 } = selection;
  if (!Number.isInteger(everyNthRow) || everyNthRow < 1) {
    throw userError({
      what: 'bad every-nth-row',
      got: String(everyNthRow),
      expected: 'a whole number from 1 on',
    });
  }
  const ownText = isPath(task) || task === embeddedTask;
  const file = await fileOf(task, selection);
  if (!ownText && folder === embeddedFolder) {
    throw userError({
      what: `${task} does not ship with lmvec`,
      expected: embeddedTask,
      hint: 'give the folder that holds it',
    });
  }
  if (!(await exists(file))) throw await missingSplit(task, file, selection);
  const all = await readSentencePairs(file);
  const rows = Array.from({ length: Math.ceil(all.gold.length / everyNthRow) }, (_, i) => i * everyNthRow);
  const gold = Float64Array.from(rows, (row) => all.gold[row] as number);
  checkScores(gold, file);
  const labels = await subsetsBeside(file, all.gold.length);
  return {
    name: isPath(task) ? basename(task).replace(fileEnding, '') : task,
    split,
    protocol: ownText ? 'file' : protocol,
    file,
    sha256: createHash('sha256')
      .update(await readFile(file))
      .digest('hex'),
    everyNthRow,
    gold,
    first: rows.map((row) => all.first[row] as string),
    second: rows.map((row) => all.second[row] as string),
    ...(labels === undefined ? {} : { subsets: rows.map((row) => labels[row] as string) }),
  };
}

function isPath(task: string): boolean {
  return /[/\\]/.test(task) || dataFormatOf(task) !== undefined;
}

const fileEnding = /\.(?:tsv|csv|jsonl|ndjson|json|parquet)(?:\.(?:gz|gzip|zst|zstd))?$/i;

/** The first file of the split that is there, whatever its format; the .tsv where there is none. */
async function fileOf(
  task: string,
  { folder, split, protocol }: Omit<TaskSelection, 'tasks'>,
): Promise<string> {
  if (isPath(task)) return task;
  if (task === embeddedTask) return join(embeddedSets(), `${split}.tsv`);
  const stem = join(folder, task, protocol === 'senteval' ? `${split}.senteval-tokenized` : split);
  for (const ending of tableEndings) if (await exists(`${stem}${ending}`)) return `${stem}${ending}`;
  return `${stem}.tsv`;
}

async function filesOf(task: string, folder: string): Promise<string[]> {
  const name = canonicalTask(task);
  const files = new Set<string>();
  for (const split of splits) {
    for (const protocol of protocols) {
      const file = await fileOf(name, { folder, split, protocol });
      if (await exists(file)) files.add(file);
    }
  }
  return [...files];
}

/** `test.subset.txt` beside `test.tsv` and `test.senteval-tokenized.tsv`. */
async function subsetsBeside(file: string, rows: number): Promise<readonly string[] | undefined> {
  const path = file.replace(fileEnding, '').replace(/\.senteval-tokenized$/i, '') + '.subset.txt';
  return fileEnding.test(file) && (await exists(path)) ? readSubsetLabels(path, rows) : undefined;
}

function checkScores(gold: Float64Array, file: string): void {
  if (gold.length < 2 || gold.every((score) => score === gold[0])) {
    throw userError({
      what: 'no correlation can be computed',
      where: file,
      got:
        gold.length < 2
          ? `${String(gold.length)} pairs`
          : `the score ${String(gold[0])} for all ${String(gold.length)} pairs`,
      expected: 'pairs with different scores',
    });
  }
}

async function missingTask(task: string, folder: string): Promise<Error> {
  if (folder !== embeddedFolder && !isPath(task)) await statOrUserError(folder, 'folder of evaluation sets');
  const where = isPath(task) ? task : join(folder, canonicalTask(task));
  return userError({ what: 'evaluation set not found', where, expected: 'train.tsv, dev.tsv or test.tsv' });
}

async function missingSplit(task: string, file: string, selection: TaskSelection): Promise<Error> {
  const { folder, split, protocol } = selection;
  if (isPath(task))
    return userError({ what: 'evaluation set not found', where: file, expected: 'an existing file' });
  if (task !== embeddedTask) await statOrUserError(folder, 'folder of evaluation sets');
  const there = await filesOf(task, folder);
  return userError({
    what: `${task} has no split "${split}"${task === embeddedTask ? '' : ` for protocol "${protocol}"`} here`,
    where: file,
    expected: 'an existing file',
    ...(there.length === 0 ? {} : { hint: `at hand: ${there.map((path) => basename(path)).join(', ')}` }),
  });
}

/** `assets/wordnet-sts` of the package, whether run from the sources or from `dist/`. */
function embeddedSets(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return join(folder, 'assets', 'wordnet-sts');
}
