import { assertNever } from '../shared/errors.js';
import { scoreTask, type EvalResult, type ScoringOptions } from './evaluate.js';
import { cosine, emptySimilarities, type PairSimilarities } from './similarity.js';
import { loadTasks, type StsTask, type TaskSelection } from './sts.js';

/** The floor that every report shows. */
export const baselines = ['bagOfWords', 'tfidf'] as const;
export type Baseline = (typeof baselines)[number];
export const baselineNames: Readonly<Record<Baseline, string>> = {
  bagOfWords: 'bag of words',
  tfidf: 'tf-idf',
};

/**
 * Scores a baseline as if it were a model. Terms are the lower-cased text's words (runs of letters and digits) and its
 * punctuation marks one by one, which makes the two protocols' texts almost the same terms. A sentence is the vector of
 * its term counts (bag of words), times `ln(N / df)` (tf-idf; N sentences in the evaluated file, both sides of each pair;
 * df of them hold the term): Jones 1972, without smoothing.
 */
export async function evaluateBaseline(
  baseline: Baseline,
  options: TaskSelection & ScoringOptions,
): Promise<EvalResult[]> {
  const tasks = await loadTasks(options);
  return tasks.map((task) => {
    const started = performance.now();
    const result = scoreTask(task, baselineSimilarities(baseline, task), options);
    return { ...result, seconds: (performance.now() - started) / 1000 };
  });
}

/** The four similarities of each pair's term vectors. */
export function baselineSimilarities(
  baseline: Baseline,
  { first, second }: Pick<StsTask, 'first' | 'second'>,
): PairSimilarities {
  const counts = [first, second].map((texts) => texts.map(termCounts));
  const weight = termWeights(baseline, counts.flat());
  const [left, right] = counts.map((side) => side.map((count) => weighted(count, weight)));
  const result = emptySimilarities(first.length);
  for (const [p, a] of (left ?? []).entries()) {
    const b = right?.[p] as ReadonlyMap<string, number>;
    let dot = 0;
    let squares = 0;
    let absolutes = 0;
    for (const term of new Set([...a.keys(), ...b.keys()])) {
      const x = a.get(term) ?? 0;
      const y = b.get(term) ?? 0;
      dot += x * y;
      squares += (x - y) ** 2;
      absolutes += Math.abs(x - y);
    }
    result.cosine[p] = rounded(cosine(dot, squaredNorm(a), squaredNorm(b)));
    result.dot[p] = rounded(dot);
    result.euclidean[p] = rounded(-Math.sqrt(squares));
    result.manhattan[p] = rounded(-absolutes);
  }
  return result;
}

/** The terms of a text, in order. */
export function terms(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]/gu) ?? [];
}

type Vector = ReadonlyMap<string, number>;

function termCounts(text: string): Vector {
  const counts = new Map<string, number>();
  for (const term of terms(text)) counts.set(term, (counts.get(term) ?? 0) + 1);
  return counts;
}

function termWeights(baseline: Baseline, sentences: readonly Vector[]): (term: string) => number {
  switch (baseline) {
    case 'bagOfWords':
      return () => 1;
    case 'tfidf': {
      const holding = new Map<string, number>();
      for (const sentence of sentences) {
        for (const term of sentence.keys()) holding.set(term, (holding.get(term) ?? 0) + 1);
      }
      return (term) => Math.log(sentences.length / (holding.get(term) as number));
    }
    default:
      return assertNever(baseline);
  }
}

function weighted(counts: Vector, weight: (term: string) => number): Vector {
  return new Map([...counts].map(([term, count]) => [term, count * weight(term)]));
}

function squaredNorm(vector: Vector): number {
  let sum = 0;
  for (const value of vector.values()) sum += value * value;
  return sum;
}

// Sparse counts tie often (1/2 and 2/4), but not to the last bit: without this, rounding noise would rank ties.
function rounded(value: number): number {
  return Number(value.toPrecision(12));
}
