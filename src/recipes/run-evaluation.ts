import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { baselineNames, baselines, evaluateBaseline } from '../evaluation/baselines.js';
import { bootstrapInterval } from '../evaluation/bootstrap.js';
import type { Encode } from '../evaluation/encoder.js';
import { averageScore, evaluateTasks, type EvalResult } from '../evaluation/evaluate.js';
import { writeMtebResults } from '../evaluation/mteb.js';
import { comparisonLine, resultTable, type ReportRow } from '../evaluation/report.js';
import { readJsonList } from '../models/weights/json-file.js';
import { userError } from '../shared/errors.js';
import { writeFileAtomic } from '../shared/files.js';
import type { RunPaths } from './run-folder.js';
import type { RunConfig } from './schema.js';

/** One evaluation while training. */
export interface Evaluation {
  /** Mean main score over the tasks: what best/ is chosen by. */
  readonly score: number;
  readonly results: readonly EvalResult[];
}

/** Which state of the model an evaluation belongs to. */
export type EvaluatedState = 'before' | 'best';

/** Scores the model on the run's evaluation sets, each with the prompt that is named like it, without intervals. */
export async function evaluateRun(config: RunConfig, encode: Encode): Promise<Evaluation> {
  const results = await evaluateTasks({
    ...selection(config),
    encode,
    prompts: Object.keys(config.prompts),
    bootstrap: 0,
  });
  return { score: averageScore(results, { bootstrap: 0 }).value, results };
}

/** Keeps an evaluation: in MTEB's layout, and with its pairs for the comparison at the end. */
export async function keepEvaluation(
  paths: RunPaths,
  state: EvaluatedState,
  evaluation: Evaluation,
  revision: string,
): Promise<void> {
  const name = basename(resolve(paths.folder));
  await writeMtebResults({
    folder: paths.results,
    model: { name: state === 'before' ? `${name}-before` : name, revision },
    results: evaluation.results,
  });
  await writeFileAtomic(keptPath(paths, state), JSON.stringify(evaluation.results, plainArrays));
}

/** The table at the end of a run: baselines, the model before and at its best, and by how much it became better. */
export interface RunReport {
  /** For the terminal. */
  readonly text: string;
  /** The same for the card of the embedder folder. */
  readonly markdown: string;
  readonly rows: KeptRows;
}

/** The rows of the table, and which of them are the model before training and at its best. */
export interface KeptRows {
  readonly rows: readonly ReportRow[];
  readonly before: ReportRow | undefined;
  readonly best: ReportRow | undefined;
}

/** What a run has kept so far, without baselines and intervals. */
export async function keptRows(paths: RunPaths): Promise<KeptRows> {
  const before = await keptRow(paths, 'before', { bootstrap: 0 });
  const best = await keptRow(paths, 'best', { bootstrap: 0 });
  return { rows: [before, best].flatMap((row) => row ?? []), before, best };
}

/** Compares what a run has kept with the baselines. */
export async function runReport(config: RunConfig, paths: RunPaths): Promise<RunReport> {
  const rows: ReportRow[] = [];
  for (const baseline of baselines)
    rows.push({
      name: baselineNames[baseline],
      results: await evaluateBaseline(baseline, selection(config)),
    });
  const before = await keptRow(paths, 'before');
  const best = await keptRow(paths, 'best');
  if (before !== undefined) rows.push(before);
  if (best !== undefined) rows.push(best);
  const comparison = before === undefined || best === undefined ? [] : [comparisonLine(best, before)];
  return {
    text: [resultTable(rows), ...comparison].join('\n'),
    markdown: [resultTable(rows, { format: 'markdown' }), ...comparison].join('\n\n'),
    rows: { rows, before, best },
  };
}

function selection(config: RunConfig) {
  const { tasks, split, folder, protocol, everyNthRow } = config.evaluate;
  return { tasks, split, folder, protocol, everyNthRow };
}

const stateNames: Readonly<Record<EvaluatedState, string>> = { before: 'before training', best: 'best' };

async function keptRow(
  paths: RunPaths,
  state: EvaluatedState,
  { bootstrap = 1000 } = {},
): Promise<ReportRow | undefined> {
  const kept = await readKept(keptPath(paths, state));
  const results = kept?.map((result) => {
    const scored = {
      ...result.scored,
      gold: Float64Array.from(result.scored.gold),
      similarity: Float64Array.from(result.scored.similarity),
    };
    const interval =
      bootstrap === 0 ? undefined : bootstrapInterval([scored], { resamples: bootstrap, seed: 0 });
    return { ...result, scored, ...(interval === undefined ? {} : { interval }) };
  });
  return results === undefined ? undefined : { name: stateNames[state], results };
}

// NaN is null in JSON.
const number = z.number().nullable();
const numbers = z.array(number);
const keptSchema = z.array(
  z
    .looseObject({
      ...{ task: z.string(), split: z.string(), protocol: z.string(), everyNthRow: z.number() },
      ...{ pairs: z.number(), mainScore: number, seconds: number },
      scored: z.object({ name: z.string(), gold: numbers, similarity: numbers }),
    })
    .refine(({ scored }) => scored.gold.length === scored.similarity.length, 'as many scores as pairs'),
);

/** @throws UserError where it is not what `keepEvaluation` writes */
async function readKept(path: string): Promise<EvalResult[] | undefined> {
  const list = await readJsonList(path);
  const parsed = keptSchema.optional().safeParse(list);
  if (parsed.success) return list as EvalResult[] | undefined;
  const [problem] = parsed.error.issues;
  throw userError({
    what: 'broken results of the run',
    where: path,
    got: `${problem?.path.join('.') ?? ''}: ${problem?.message ?? ''}`,
    hint: 'start again with --overwrite',
  });
}

function keptPath(paths: RunPaths, state: EvaluatedState): string {
  return join(paths.results, `${state}.json`);
}

function plainArrays(_key: string, value: unknown): unknown {
  return value instanceof Float64Array ? [...value] : value;
}
