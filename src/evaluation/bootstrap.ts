import { internalError } from '../shared/errors.js';
import { hashKey, hashString } from '../shared/random.js';
import {
  clampCorrelation,
  mean,
  quantileOfSorted,
  spearman,
  tieGroups,
  type TieGroups,
} from './statistics.js';

/** A 95 % percentile interval over `resamples` draws of the pairs with replacement. */
export interface Interval {
  readonly low: number;
  readonly high: number;
  readonly resamples: number;
}

/** The pairs of one evaluation set as one model scored them: gold score and similarity of each pair. */
export interface ScoredPairs {
  /** Names the set: two models are resampled alike on the same set. */
  readonly name: string;
  readonly gold: Float64Array;
  readonly similarity: Float64Array;
}

export interface BootstrapOptions {
  readonly resamples: number;
  readonly seed: number;
}

/** How much better model `a` is than model `b`, both judged on the same resampled pairs. */
export interface PairedComparison {
  /** Spearman of a minus Spearman of b (averaged over the sets), on all pairs. */
  readonly difference: number;
  readonly interval: Interval;
  /** Two-sided bootstrap p value of "no difference": `2 min(#(d <= 0) + 1, #(d >= 0) + 1) / (resamples + 1)`, at most 1. */
  readonly pValue: number;
}

/**
 * 95 % percentile bootstrap interval of Spearman's correlation, averaged over `sets` where there are several
 * (each set is resampled by itself). Undefined where no resample has a correlation.
 */
export function bootstrapInterval(
  sets: readonly ScoredPairs[],
  options: BootstrapOptions,
): Interval | undefined {
  return percentileInterval(bootstrapSpearmans(sets, options));
}

/**
 * Paired bootstrap of two models over the same sets in the same order.
 * @throws an internal error where the sets differ in name, length or gold scores.
 */
export function pairedBootstrap(
  a: readonly ScoredPairs[],
  b: readonly ScoredPairs[],
  options: BootstrapOptions,
): PairedComparison | undefined {
  assertSameSets(a, b);
  const ofA = bootstrapSpearmans(a, options);
  const ofB = bootstrapSpearmans(b, options);
  const differences = ofA.map((value, i) => value - (ofB[i] as number));
  const interval = percentileInterval(differences);
  if (interval === undefined) return undefined;
  const defined = differences.filter((value) => !Number.isNaN(value));
  const notAbove = defined.filter((value) => value <= 0).length;
  const notBelow = defined.filter((value) => value >= 0).length;
  const averages = [a, b].map((sets) => mean(sets.map((set) => spearman(set.gold, set.similarity))));
  return {
    difference: (averages[0] as number) - (averages[1] as number),
    interval,
    pValue: Math.min(1, (2 * (Math.min(notAbove, notBelow) + 1)) / (defined.length + 1)),
  };
}

/** Spearman of each resample, averaged over the sets; NaN where a resample has none. A pure function of names, pairs and seed. */
export function bootstrapSpearmans(
  sets: readonly ScoredPairs[],
  { resamples, seed }: BootstrapOptions,
): Float64Array {
  const sums = new Float64Array(resamples);
  for (const { name, gold, similarity } of sets) {
    const correlate = resampledSpearman(gold, similarity);
    const setSeed = hashKey(seed, hashString(name));
    const counts = new Uint32Array(gold.length);
    for (let r = 0; r < resamples; r++) {
      drawCounts(counts, hashKey(setSeed, r));
      sums[r] = (sums[r] as number) + correlate(counts);
    }
  }
  return sums.map((sum) => sum / sets.length);
}

/**
 * Spearman's correlation of a resample that holds pair i `counts[i]` times. The values are sorted once, here; a resample's
 * tie-averaged ranks follow from the counts in one walk through that order, so each call costs O(pairs) and sorts nothing.
 */
export function resampledSpearman(x: Float64Array, y: Float64Array): (counts: Uint32Array) => number {
  const n = x.length;
  if (y.length !== n) throw internalError(`resampling ${String(n)} and ${String(y.length)} values`);
  const groupsX = tieGroups(x);
  const groupsY = tieGroups(y);
  const ranksX = new Float64Array(n);
  const ranksY = new Float64Array(n);
  return (counts) => {
    const total = rankCounted(groupsX, counts, ranksX);
    rankCounted(groupsY, counts, ranksY);
    const center = (total + 1) / 2;
    let xy = 0;
    let xx = 0;
    let yy = 0;
    for (let i = 0; i < n; i++) {
      const dx = (ranksX[i] as number) - center;
      const dy = (ranksY[i] as number) - center;
      const count = counts[i] as number;
      xy += count * dx * dy;
      xx += count * dx * dx;
      yy += count * dy * dy;
    }
    // Differences of ranks are multiples of 1/2: these sums are exact, and 0 only where all drawn values are equal.
    return xx === 0 || yy === 0 ? NaN : clampCorrelation(xy / Math.sqrt(xx * yy));
  };
}

/** Writes each pair's rank among the counted pairs and returns how many there are. */
function rankCounted({ order, groupEnds }: TieGroups, counts: Uint32Array, ranks: Float64Array): number {
  let before = 0;
  let start = 0;
  for (let g = 0; g < groupEnds.length; g++) {
    const end = groupEnds[g] as number;
    let inGroup = 0;
    for (let i = start; i < end; i++) inGroup += counts[order[i] as number] as number;
    const rank = before + (inGroup + 1) / 2;
    for (let i = start; i < end; i++) ranks[order[i] as number] = rank;
    before += inGroup;
    start = end;
  }
  return before;
}

/** Draws as many pairs as there are, with replacement: how often each was drawn. */
function drawCounts(counts: Uint32Array, seed: number): void {
  const n = counts.length;
  counts.fill(0);
  for (let i = 0; i < n; i++) {
    const drawn = Math.floor((hashKey(seed, i) / 0x1_0000_0000) * n);
    counts[drawn] = (counts[drawn] as number) + 1;
  }
}

function percentileInterval(values: Float64Array): Interval | undefined {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort();
  if (sorted.length === 0) return undefined;
  return {
    low: quantileOfSorted(sorted, 0.025),
    high: quantileOfSorted(sorted, 0.975),
    resamples: values.length,
  };
}

function assertSameSets(a: readonly ScoredPairs[], b: readonly ScoredPairs[]): void {
  const same = a.length === b.length && a.every((set, i) => isSameSet(set, b[i] as ScoredPairs));
  if (a.length === 0 || !same) throw internalError('a paired bootstrap needs the same pairs for both models');
}

function isSameSet(a: ScoredPairs, b: ScoredPairs): boolean {
  return (
    a.name === b.name && a.gold.length === b.gold.length && a.gold.every((value, i) => value === b.gold[i])
  );
}
