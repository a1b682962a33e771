import { internalError } from '../shared/errors.js';

/**
 * Pearson's correlation of two equally long series; NaN where one of them is constant or shorter than 2.
 * `r = sum((x - mx)(y - my)) / sqrt(sum((x - mx)^2) sum((y - my)^2))`, two passes in float64.
 */
export function pearson(x: ArrayLike<number>, y: ArrayLike<number>): number {
  const n = x.length;
  if (y.length !== n) throw internalError(`pearson of ${String(n)} and ${String(y.length)} values`);
  if (n < 2) return NaN;
  const meanX = mean(x);
  const meanY = mean(y);
  let xy = 0;
  let xx = 0;
  let yy = 0;
  for (let i = 0; i < n; i++) {
    const dx = (x[i] as number) - meanX;
    const dy = (y[i] as number) - meanY;
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  if (isConstant(x) || isConstant(y)) return NaN;
  return clampCorrelation(xy / (Math.sqrt(xx) * Math.sqrt(yy)));
}

/** Spearman's rank correlation: Pearson's of the ranks, ties averaged; NaN where one series is constant. */
export function spearman(x: ArrayLike<number>, y: ArrayLike<number>): number {
  return pearson(averageRanks(x), averageRanks(y));
}

/** Ranks 1..n; equal values share the mean of their ranks. */
export function averageRanks(values: ArrayLike<number>): Float64Array {
  const { order, groupEnds } = tieGroups(values);
  const ranks = new Float64Array(values.length);
  let start = 0;
  for (const end of groupEnds) {
    for (let i = start; i < end; i++) ranks[order[i] as number] = (start + end + 1) / 2;
    start = end;
  }
  return ranks;
}

/** Positions of the values in ascending order, and where each run of equal values ends in that order. */
export interface TieGroups {
  readonly order: Uint32Array;
  readonly groupEnds: Uint32Array;
}

/** @throws an internal error on NaN: a rank of it has no meaning. */
export function tieGroups(values: ArrayLike<number>): TieGroups {
  const n = values.length;
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(values[i])) throw internalError(`rank of NaN at position ${String(i)}`);
  }
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  order.sort((a, b) => {
    const left = values[a] as number;
    const right = values[b] as number;
    return left < right ? -1 : left > right ? 1 : 0;
  });
  const ends: number[] = [];
  for (let i = 1; i <= n; i++) {
    if (i === n || values[order[i] as number] !== values[order[i - 1] as number]) ends.push(i);
  }
  return { order, groupEnds: Uint32Array.from(ends) };
}

/** The q-quantile (0..1) of ascending values, linearly interpolated between neighbours (numpy's default). */
export function quantileOfSorted(sorted: ArrayLike<number>, q: number): number {
  if (sorted.length === 0) return NaN;
  const position = q * (sorted.length - 1);
  const below = Math.floor(position);
  const low = sorted[below] as number;
  const high = sorted[Math.min(below + 1, sorted.length - 1)] as number;
  return low + (high - low) * (position - below);
}

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] as number;
  return sum / values.length;
}

/** Rounding can leave a correlation at 1 + 2e-16. */
export function clampCorrelation(value: number): number {
  return Math.max(-1, Math.min(1, value));
}

// Compared by value: the sum of squared differences from a rounded mean need not be exactly 0.
function isConstant(values: ArrayLike<number>): boolean {
  for (let i = 1; i < values.length; i++) if (values[i] !== values[0]) return false;
  return true;
}
