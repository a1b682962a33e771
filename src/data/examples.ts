import { hashKey, randomStream } from '../shared/random.js';

/** A query, the text that answers it, and texts that do not. */
export interface RankedExample {
  readonly form: 'ranked';
  readonly query: string;
  readonly positive: string;
  readonly negatives: readonly string[];
  /** What a teacher gave the positive, then each negative. */
  readonly teacher?: readonly number[];
  /** Texts of one group are no negatives of each other: items of one class. */
  readonly group?: string;
  /** The group of each negative, where there are groups. */
  readonly negativeGroups?: readonly string[];
}

/** Two texts and how alike they are; only the order of the scores matters. */
export interface ScoredExample {
  readonly form: 'scored';
  readonly first: string;
  readonly second: string;
  readonly score: number;
}

export type Example = RankedExample | ScoredExample;

/** Examples of one form from one source. */
export interface ExampleSet {
  readonly name: string;
  readonly form: Example['form'];
  readonly count: number;
  /** Example `index` with at most `negatives` negatives. What is chosen freely is a pure function of `draw`. */
  example(index: number, draw: number, negatives: number): Example;
}

/**
 * A set that holds its examples. Examples without negatives get `randomNegatives` positives of others, other ones for each draw; not those that a
 * teacher scored: it did not score these.
 */
export function listedExamples(
  name: string,
  examples: readonly Example[],
  { randomNegatives = 0, seed = 0 }: { readonly randomNegatives?: number; readonly seed?: number } = {},
): ExampleSet {
  let positives: ReadonlyMap<string, ReadonlySet<string>> | undefined;
  const drawn = (
    index: number,
    query: string,
    { draw, count }: { draw: number; count: number },
  ): string[] => {
    const random = randomStream(hashKey(seed, draw, index));
    positives ??= positivesByQuery(examples);
    const known = positives.get(query);
    const chosen = new Set<string>();
    for (let i = 0; i < count; i++) {
      const start = random.integer(examples.length);
      // Where the text is taken already, or no negative, the next one that is.
      for (let step = 0; step < examples.length; step++) {
        const text = positiveOf(examples[(start + step) % examples.length] as Example);
        if (text === query || known?.has(text) === true || chosen.has(text)) continue;
        chosen.add(text);
        break;
      }
    }
    return [...chosen];
  };
  return {
    name,
    form: examples[0]?.form ?? 'ranked',
    count: examples.length,
    example: (index, draw, negatives) => {
      const example = examples[index] as Example;
      if (example.form === 'scored') return example;
      if (example.negatives.length > 0) return withFewer(example, negatives, draw);
      const count = Math.min(negatives, randomNegatives);
      if (count === 0 || example.teacher !== undefined) return example;
      return { ...example, negatives: drawn(index, example.query, { draw, count }) };
    },
  };
}

function positiveOf(example: Example): string {
  return example.form === 'ranked' ? example.positive : example.second;
}

/** All positives of each query: it may stand in several examples. */
function positivesByQuery(examples: readonly Example[]): Map<string, Set<string>> {
  const positives = new Map<string, Set<string>>();
  for (const example of examples) {
    if (example.form === 'scored') continue;
    const known = positives.get(example.query);
    if (known === undefined) positives.set(example.query, new Set([example.positive]));
    else known.add(example.positive);
  }
  return positives;
}

/** The negatives in turn: draw after draw, all of them are seen. */
function withFewer(example: RankedExample, most: number, draw: number): RankedExample {
  const { negatives, teacher, ...rest } = example;
  const count = negatives.length;
  if (count <= most) return example;
  const chosen = Array.from({ length: most }, (_, i) => (draw * most + i) % count);
  return {
    ...rest,
    negatives: chosen.map((i) => negatives[i] as string),
    ...(teacher === undefined
      ? {}
      : { teacher: [teacher[0] as number, ...chosen.map((i) => teacher[i + 1] as number)] }),
  };
}

/** All texts of an example. */
export function textsOf(example: Example): string[] {
  return example.form === 'scored'
    ? [example.first, example.second]
    : [example.query, example.positive, ...example.negatives];
}
