import { scoreTask, type EvalResult, type ScoringOptions } from './evaluate.js';
import { cosine, emptySimilarities, type PairSimilarities } from './similarity.js';
import { loadTasks, type StsTask, type TaskSelection } from './sts.js';

/** Terms of a text with their counts. */
export type TermCounts = ReadonlyMap<number, number>;

export interface SoftCosineOptions {
  /** [E] of a term; undefined for one without a vector, which is like itself alone. */
  readonly vectorOf: (term: number) => Float32Array | undefined;
  /** Greater ones leave little but near synonyms (default 2). */
  readonly exponent?: number;
  /** Cosines that are not above it count as 0 (default 0). */
  readonly threshold?: number;
}

/**
 * Soft cosine of term counts x and y: `x'Sy / sqrt(x'Sx y'Sy)`, where S_ij is the cosine of the terms' vectors to the power of `exponent`, 0
 * where it is not above `threshold`, and 1 on the diagonal (Sidorov et al. 2014, Computacion y Sistemas 18(3); Charlet and Damnati 2017,
 * SemEval task 3; as in gensim, but with every pair of terms). `dot` holds x'Sy, `euclidean` -sqrt(x'Sx - 2 x'Sy + y'Sy); there is no
 * Manhattan distance: zeros.
 */
export function softCosines(
  first: readonly TermCounts[],
  second: readonly TermCounts[],
  options: SoftCosineOptions,
): PairSimilarities {
  const unit = unitVectors(options);
  const result = emptySimilarities(first.length);
  for (const [p, x] of first.entries()) {
    const y = second[p] ?? new Map<number, number>();
    const dot = product(x, y, unit, options);
    const squareX = product(x, x, unit, options);
    const squareY = product(y, y, unit, options);
    result.cosine[p] = cosine(dot, squareX, squareY);
    result.dot[p] = dot;
    result.euclidean[p] = -Math.sqrt(Math.max(0, squareX - 2 * dot + squareY));
  }
  return result;
}

/** Scores the soft cosine on sets of sentence pairs; `count` gives a text's terms. @throws UserError where a set is missing or broken */
export async function evaluateSoftCosine(
  options: TaskSelection &
    ScoringOptions &
    SoftCosineOptions & { readonly count: (text: string) => TermCounts },
): Promise<EvalResult[]> {
  const tasks = await loadTasks(options);
  return tasks.map((task: StsTask) => {
    const started = performance.now();
    const counts = (texts: readonly string[]): TermCounts[] => texts.map((text) => options.count(text));
    const result = scoreTask(task, softCosines(counts(task.first), counts(task.second), options), options);
    return { ...result, seconds: (performance.now() - started) / 1000 };
  });
}

type Unit = (term: number) => Float32Array | undefined;

/** Each term's vector at length 1, made once. */
function unitVectors({ vectorOf }: SoftCosineOptions): Unit {
  const known = new Map<number, Float32Array | undefined>();
  return (term) => {
    if (known.has(term)) return known.get(term);
    const vector = vectorOf(term);
    const length = vector === undefined ? 0 : Math.hypot(...vector);
    const unit = length === 0 ? undefined : vector?.map((value) => value / length);
    known.set(term, unit);
    return unit;
  };
}

/** x'Sy */
function product(
  x: TermCounts,
  y: TermCounts,
  unit: Unit,
  { exponent = 2, threshold = 0 }: SoftCosineOptions,
): number {
  let sum = 0;
  for (const [a, countA] of x) {
    for (const [b, countB] of y) {
      if (a === b) {
        sum += countA * countB;
        continue;
      }
      const left = unit(a);
      const right = unit(b);
      if (left === undefined || right === undefined) continue;
      let similarity = 0;
      for (let i = 0; i < left.length; i++) similarity += (left[i] as number) * (right[i] as number);
      if (similarity > threshold) sum += countA * countB * similarity ** exponent;
    }
  }
  return sum;
}
