import { permutation, randomStream } from '../shared/random.js';
import { wordNetSimilarity, type WordNetSimilarity } from './wordnet-similarity.js';
import type { Synset } from './wordnet.js';

/** One row of WordNetSTS: two definitions and `5 lin(a, b)`. */
export interface GradedPair {
  readonly score: number;
  readonly sentence1: string;
  readonly sentence2: string;
  /** Ids of the two synsets. */
  readonly synsets: readonly [string, string];
}

export interface WordNetStsOptions {
  readonly synsets: readonly Synset[];
  /** Synset id -> how often it was met in sense-tagged text. */
  readonly tagCounts: ReadonlyMap<string, number>;
  readonly pairsPerSplit: number;
  readonly seed: number;
}

const scoreBins = 10;

/**
 * Pairs of noun definitions graded by how near their synsets are in WordNet (Lin similarity, 0 to 5), as many in each tenth of the scale.
 * No synset and no definition occurs twice, in dev and test together.
 */
export function wordNetSts(options: WordNetStsOptions): { dev: GradedPair[]; test: GradedPair[] } {
  const nouns = options.synsets.filter(
    (synset) => synset.partOfSpeech === 'noun' && synset.classes.length === 0,
  );
  const similarity = wordNetSimilarity(nouns);
  const candidates = usableSynsets(nouns, options.tagCounts);
  const order = permutation(candidates.length, options.seed);
  const halves: [Synset[], Synset[]] = [[], []];
  order.forEach((index, position) => {
    const synset = candidates[index];
    if (synset !== undefined) halves[position % 2]?.push(synset);
  });
  const [dev, test] = halves.map((synsets, half) =>
    drawPairs({ synsets, similarity, pairs: options.pairsPerSplit, seed: options.seed + 1 + half }),
  );
  return { dev: dev ?? [], test: test ?? [] };
}

/** Synsets met at least once in sense-tagged text, whose first definition has four words or more, each definition once. */
function usableSynsets(nouns: readonly Synset[], tagCounts: ReadonlyMap<string, number>): Synset[] {
  const seen = new Set<string>();
  return nouns.filter((synset) => {
    const definition = (synset.definitions[0] ?? '').toLowerCase();
    const usable =
      (tagCounts.get(synset.id) ?? 0) > 0 && definition.split(' ').length >= 4 && !seen.has(definition);
    if (usable) seen.add(definition);
    return usable;
  });
}

interface DrawOptions {
  readonly synsets: readonly Synset[];
  readonly similarity: WordNetSimilarity;
  readonly pairs: number;
  readonly seed: number;
}

/**
 * Draws a synset, one of its ancestors, and another synset below that ancestor (two random nouns have almost nothing in common: most
 * pairs of the upper bins would never turn up), until every bin is full or 2,000 draws a pair are spent.
 */
function drawPairs({ synsets, similarity, pairs, seed }: DrawOptions): GradedPair[] {
  const below = new Map<string, Synset[]>();
  for (const synset of synsets) {
    for (const ancestor of similarity.ancestors(synset.id)) {
      const members = below.get(ancestor);
      if (members === undefined) below.set(ancestor, [synset]);
      else members.push(synset);
    }
  }
  const random = randomStream(seed);
  const perBin = Math.floor(pairs / scoreBins);
  const filled = new Array<number>(scoreBins).fill(0);
  const used = new Set<string>();
  const drawn: GradedPair[] = [];
  for (let tries = pairs * 2000; tries > 0 && drawn.length < perBin * scoreBins; tries--) {
    const first = synsets[random.integer(synsets.length)];
    if (first === undefined || used.has(first.id)) continue;
    const ancestors = [...similarity.ancestors(first.id)];
    const members = below.get(ancestors[random.integer(ancestors.length)] ?? '') ?? [];
    const second = members[random.integer(members.length)];
    if (second === undefined || second === first || used.has(second.id)) continue;
    const lin = similarity.lin(first.id, second.id);
    const bin = Math.min(scoreBins - 1, Math.floor(lin * scoreBins));
    if ((filled[bin] ?? perBin) >= perBin) continue;
    filled[bin] = (filled[bin] ?? 0) + 1;
    used.add(first.id).add(second.id);
    drawn.push({
      score: 5 * lin,
      sentence1: first.definitions[0] ?? '',
      sentence2: second.definitions[0] ?? '',
      synsets: [first.id, second.id],
    });
  }
  return drawn;
}

/** The TSV that evaluation reads: a header, then `score<TAB>sentence1<TAB>sentence2`, scores with two decimals, no quoting. */
export function gradedPairsTsv(pairs: readonly GradedPair[]): string {
  const rows = pairs.map(
    ({ score, sentence1, sentence2 }) => `${score.toFixed(2)}\t${sentence1}\t${sentence2}\n`,
  );
  return `score\tsentence1\tsentence2\n${rows.join('')}`;
}
