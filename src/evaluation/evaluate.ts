import { internalError, userError } from '../shared/errors.js';
import { bootstrapInterval, type Interval, type ScoredPairs } from './bootstrap.js';
import type { EmbeddingMatrix, Encode } from './encoder.js';
import { pairSimilarities, similarities, type PairSimilarities, type Similarity } from './similarity.js';
import { sparsityOf, type Sparsity } from './sparsity.js';
import { mean, pearson, spearman } from './statistics.js';
import { loadTasks, stsTasks, type StsTask, type TaskSelection } from './sts.js';
import { taskPrompt } from './task-prompt.js';

/** What one model scored on one evaluation set. Correlations are in [-1, 1]; NaN where all similarities are equal. */
export interface EvalResult extends Pick<StsTask, 'split' | 'protocol' | 'file' | 'sha256' | 'everyNthRow'> {
  readonly task: string;
  /** Which of the model's prompts its texts had; absent where it was the default. */
  readonly prompt?: string;
  readonly pairs: number;
  /** Spearman of the cosine over the whole file, all subsets together. */
  readonly mainScore: number;
  /** Bootstrap interval of the main score; absent where none was asked for. */
  readonly interval?: Interval;
  readonly spearman: Readonly<Record<Similarity, number>>;
  readonly pearson: Readonly<Record<Similarity, number>>;
  /** Spearman of the cosine within each subset, in file order. */
  readonly subsets: readonly { readonly name: string; readonly pairs: number; readonly spearman: number }[];
  /** Gold score and cosine of each pair: what a paired bootstrap between two models needs. */
  readonly scored: ScoredPairs;
  /** Of this set's texts and those embedded with them; absent where the vectors are dense. */
  readonly sparsity?: Sparsity;
  /** Wall-clock seconds spent on embedding (this set's share, by texts) and scoring. */
  readonly seconds: number;
}

export interface ScoringOptions {
  /** Resamples of the bootstrap interval; 0 for none. Default 1000. */
  readonly bootstrap?: number;
  readonly seed?: number;
}

export interface EvaluateOptions extends TaskSelection, ScoringOptions {
  readonly encode: Encode;
  /** Names of the prompts that `encode` takes: each task's is picked by its name, then its type. */
  readonly prompts?: readonly string[];
}

/**
 * Scores an encoder on sets of sentence pairs. Each different sentence of all the sets with one prompt is embedded once, in one call.
 * @throws a user error where a set is missing or broken, or the model's embeddings are not finite.
 */
export async function evaluateTasks(options: EvaluateOptions): Promise<EvalResult[]> {
  const tasks = await loadTasks(options);
  const names = options.prompts ?? [];
  const groups = new Map<string | undefined, StsTask[]>();
  for (const task of tasks) {
    const prompt = taskPrompt(task.name, names);
    groups.set(prompt, [...(groups.get(prompt) ?? []), task]);
  }
  const results = new Map<StsTask, EvalResult>();
  for (const [prompt, group] of groups)
    for (const [task, result] of await evaluateGroup(group, prompt, options)) results.set(task, result);
  return tasks.map((task) => results.get(task) as EvalResult);
}

/** Scores tasks whose texts have the same prompt. */
async function evaluateGroup(
  tasks: readonly StsTask[],
  prompt: string | undefined,
  options: EvaluateOptions,
): Promise<[StsTask, EvalResult][]> {
  const rows = new Map<string, number>();
  for (const { first, second } of tasks) {
    for (const text of [...first, ...second]) if (!rows.has(text)) rows.set(text, rows.size);
  }
  const texts = [...rows.keys()];
  const started = performance.now();
  const matrix = await options.encode(texts, prompt);
  checkMatrix(matrix, texts);
  const sparsity = sparsityOf(matrix);
  const secondsPerText = (performance.now() - started) / 1000 / texts.length;
  return tasks.map((task) => {
    const scoringStarted = performance.now();
    const first = Uint32Array.from(task.first, (text) => rows.get(text) as number);
    const second = Uint32Array.from(task.second, (text) => rows.get(text) as number);
    const result = scoreTask(task, pairSimilarities(matrix, first, second), options);
    const own = new Set([...first, ...second]).size;
    const seconds = own * secondsPerText + (performance.now() - scoringStarted) / 1000;
    const measured = {
      ...(prompt === undefined ? {} : { prompt }),
      ...(sparsity === undefined ? {} : { sparsity }),
    };
    return [task, { ...result, ...measured, seconds }];
  });
}

/** The result of whatever gives each pair of a set the four similarities. */
export function scoreTask(task: StsTask, similar: PairSimilarities, options: ScoringOptions): EvalResult {
  const { bootstrap = 1000, seed = 0 } = options;
  const started = performance.now();
  const scored = { name: task.name, gold: task.gold, similarity: similar.cosine };
  const spearmans = forEach((similarity) => spearman(task.gold, similar[similarity]));
  const interval = bootstrap > 0 ? bootstrapInterval([scored], { resamples: bootstrap, seed }) : undefined;
  return {
    task: task.name,
    split: task.split,
    protocol: task.protocol,
    file: task.file,
    sha256: task.sha256,
    everyNthRow: task.everyNthRow,
    pairs: task.gold.length,
    mainScore: spearmans.cosine,
    ...(interval === undefined ? {} : { interval }),
    spearman: spearmans,
    pearson: forEach((similarity) => pearson(task.gold, similar[similarity])),
    subsets: subsetScores(task, similar.cosine),
    scored,
    seconds: (performance.now() - started) / 1000,
  };
}

/** The mean of some main scores, and which of the seven standard sets are not in it. */
export interface Average {
  readonly value: number;
  readonly interval?: Interval;
  readonly over: readonly string[];
  readonly leftOut: readonly string[];
}

/** Averages main scores; the interval resamples each set by itself. */
export function averageScore(results: readonly EvalResult[], options: ScoringOptions = {}): Average {
  const { bootstrap = 1000, seed = 0 } = options;
  const over = results.map((result) => result.task);
  const sets = results.map((result) => result.scored);
  const interval = bootstrap > 0 ? bootstrapInterval(sets, { resamples: bootstrap, seed }) : undefined;
  return {
    value: mean(results.map((result) => result.mainScore)),
    ...(interval === undefined ? {} : { interval }),
    over,
    leftOut: stsTasks.filter((name) => !over.includes(name)),
  };
}

function subsetScores(task: StsTask, cosines: Float64Array): EvalResult['subsets'] {
  const rowsOf = new Map<string, number[]>();
  for (const [row, name] of (task.subsets ?? []).entries()) {
    const rows = rowsOf.get(name);
    if (rows === undefined) rowsOf.set(name, [row]);
    else rows.push(row);
  }
  return [...rowsOf].map(([name, rows]) => {
    const pick = (values: Float64Array): number[] => rows.map((row) => values[row] as number);
    return { name, pairs: rows.length, spearman: spearman(pick(task.gold), pick(cosines)) };
  });
}

function forEach(value: (similarity: Similarity) => number): Record<Similarity, number> {
  return Object.fromEntries(similarities.map((name) => [name, value(name)])) as Record<Similarity, number>;
}

function checkMatrix({ rows, dimensions, data }: EmbeddingMatrix, texts: readonly string[]): void {
  if (rows !== texts.length || dimensions < 1 || data.length !== rows * dimensions) {
    const shape = `[${String(rows)}, ${String(dimensions)}] in ${String(data.length)} numbers`;
    throw internalError(`the encoder returned ${shape} for ${String(texts.length)} texts`);
  }
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  throw userError({
    what: 'the model gives an embedding that is not finite',
    got: `${String(data[bad])} for the text ${JSON.stringify(texts[Math.floor(bad / dimensions)])}`,
    expected: 'finite numbers',
  });
}
