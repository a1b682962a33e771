import { hashKey, randomStream } from '../shared/random.js';
import type { Hits } from './best-documents.js';

/** Which of a query's hits become negatives. */
export interface NegativeChoice {
  readonly negatives: number;
  /**
   * Ranks that are looked at, from 0, among the documents that are not too good: the first `range[0]` are passed over, nothing from `range[1]` on
   * is taken.
   */
  readonly range: readonly [number, number];
  /** A candidate's score must be below this share of the positive's (NV-Retriever's TopK-PercPos: 0.95). */
  readonly shareOfPositive?: number | undefined;
  /** A candidate's score must be below the positive's by more than this (TopK-MarginPos: 0.05). */
  readonly margin?: number | undefined;
  readonly highest?: number | undefined;
  readonly lowest?: number | undefined;
  /** `top`: the hardest; `random`: any of those that are left. */
  readonly sampling: 'top' | 'random';
  readonly seed: number;
}

/** Scores from here on are too good for a negative of a positive with this score. */
export function ceilingOf(
  positive: number,
  { shareOfPositive, margin, highest }: Pick<NegativeChoice, 'shareOfPositive' | 'margin' | 'highest'>,
): number {
  // A share of a negative score would be above it.
  const byShare =
    shareOfPositive === undefined ? Infinity : positive - Math.abs(positive) * (1 - shareOfPositive);
  const byMargin = margin === undefined ? Infinity : positive - margin;
  return Math.min(byShare, byMargin, highest === undefined ? Infinity : highest + 1e-7);
}

/**
 * Chooses negatives among a query's hits (its positives are not among them), positive-aware: Moreira et al. 2024 (NV-Retriever),
 * arXiv:2407.15831, section 3.2. Hardest first. May be fewer than asked for.
 */
export function chooseNegatives(
  { documents, scores }: Hits,
  positive: number,
  choice: NegativeChoice & { readonly key: number },
): Hits {
  const { negatives, range, lowest, sampling, seed, key } = choice;
  const ceiling = ceilingOf(positive, choice);
  const left: number[] = [];
  for (let rank = range[0]; rank < Math.min(range[1], documents.length); rank++) {
    const score = scores[rank] as number;
    if (score >= ceiling || score < (lowest ?? -Infinity)) continue;
    left.push(rank);
    if (sampling === 'top' && left.length === negatives) break;
  }
  const chosen = sampling === 'top' ? left : drawn(left, negatives, hashKey(seed, key));
  return {
    documents: Int32Array.from(chosen, (rank) => documents[rank] as number),
    scores: Float32Array.from(chosen, (rank) => scores[rank] as number),
  };
}

function drawn(ranks: number[], count: number, key: number): number[] {
  const random = randomStream(key);
  for (let i = 0; i < Math.min(count, ranks.length); i++) {
    const j = i + random.integer(ranks.length - i);
    [ranks[i], ranks[j]] = [ranks[j] as number, ranks[i] as number];
  }
  return ranks.slice(0, count).sort((a, b) => a - b);
}
