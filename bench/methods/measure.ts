import { baselineNames, baselines, evaluateBaseline } from '../../src/evaluation/baselines.js';
import { evaluateTasks, type EvalResult } from '../../src/evaluation/evaluate.js';
import { loadTasks, type TaskSelection } from '../../src/evaluation/sts.js';
import type { EmbeddingModel } from '../../src/pooling/embedding-model.js';
import { createModelEncoder, type Embeddings } from '../../src/pooling/packed-encoder.js';
import { remembering } from '../../src/recipes/untouched.js';
import type { MethodRow } from './report.js';
import type { Pass, Way } from './ways.js';

export interface MeasureOptions {
  /** The decoder, with any recipe. */
  readonly bare: EmbeddingModel;
  readonly selection: TaskSelection;
  readonly threads: number;
  /** Sentences to take the time over. */
  readonly timedTexts: readonly string[];
}

/** Evenly chosen different sentences of the sets. */
export async function textsToTime(selection: TaskSelection, count: number): Promise<string[]> {
  const tasks = await loadTasks(selection);
  const texts = [...new Set(tasks.flatMap(({ first, second }) => [...first, ...second]))];
  const kept = Math.min(count, texts.length);
  return Array.from({ length: kept }, (_, i) => texts[Math.floor((i * texts.length) / kept)] as string);
}

/** Scores the ways of one pass together, then times each by itself; `onRow` hears each row. */
export async function measurePass(
  pass: Pass,
  options: MeasureOptions,
  onRow: (row: MethodRow) => Promise<void>,
): Promise<void> {
  const { bare, selection, threads } = options;
  const [first, ...others] = pass;
  const encoder = createModelEncoder(
    { ...bare, recipe: first.recipe },
    { threads, furtherPoolings: others.map(({ recipe }) => recipe.pooling) },
  );
  const scored: { way: Way; results: EvalResult[]; dimensions: number }[] = [];
  try {
    const encodeAll = remembering(encoder);
    for (const [index, way] of pass.entries()) {
      let dimensions = 0;
      const encode = async (texts: readonly string[]): Promise<Embeddings> => {
        const embeddings = (await encodeAll(texts))[index] as Embeddings;
        ({ dimensions } = embeddings);
        return embeddings;
      };
      scored.push({ way, results: await evaluateTasks({ ...selection, encode, bootstrap: 0 }), dimensions });
    }
  } finally {
    await encoder.dispose();
  }
  for (const { way, results, dimensions } of scored)
    await onRow({
      name: way.name,
      scores: scoresOf(results),
      secondsPer1000: await secondsPer1000(way, options),
      dimensions,
    });
}

/** The floor: rows without a model. */
export async function baselineRows(selection: TaskSelection): Promise<MethodRow[]> {
  const rows: MethodRow[] = [];
  for (const baseline of baselines) {
    const scores = scoresOf(await evaluateBaseline(baseline, { ...selection, bootstrap: 0 }));
    rows.push({ name: baselineNames[baseline], scores, secondsPer1000: null, dimensions: null });
  }
  return rows;
}

/** The second of two equal runs: nothing is compiled in it. */
async function secondsPer1000(
  { recipe }: Way,
  { bare, threads, timedTexts }: MeasureOptions,
): Promise<number> {
  const encoder = createModelEncoder({ ...bare, recipe }, { threads });
  try {
    await encoder.encode(timedTexts);
    const start = performance.now();
    await encoder.encode(timedTexts);
    return (performance.now() - start) / timedTexts.length;
  } finally {
    await encoder.dispose();
  }
}

function scoresOf(results: readonly EvalResult[]): MethodRow['scores'] {
  return Object.fromEntries(
    results.map(({ task, mainScore }) => [task, Number.isNaN(mainScore) ? null : mainScore]),
  );
}
