import { internalError } from '../shared/errors.js';

/**
 * Dynamic axes. A dynamic axis is traced with a large prime as its length, so that every length in the trace factors uniquely into
 * a constant and powers of the primes: 5 * 30011 can only be "5 times the batch". The primes are small enough that tfjs, which
 * compares numbers of elements, counts attention scores [batch, heads, sequence, sequence] exactly up to 300 heads.
 */
export const AXIS_PRIMES = [30011, 30013, 30029, 30047, 30059, 30071, 30089, 30091] as const;

export interface DynamicAxis {
  readonly name: string;
  readonly prime: number;
  /** The graph input and axis that the length is read from at run time. */
  readonly input: string;
  readonly axis: number;
}

/** constant * product of axes (repeated for powers) */
export interface Dimension {
  readonly constant: number;
  readonly axes: readonly DynamicAxis[];
}

export function factorDimension(length: number, dynamic: readonly DynamicAxis[]): Dimension {
  let constant = length;
  const axes: DynamicAxis[] = [];
  for (const axis of dynamic) {
    while (constant !== 0 && constant % axis.prime === 0) {
      constant /= axis.prime;
      axes.push(axis);
    }
  }
  if (!Number.isSafeInteger(length)) throw internalError(`dimension ${length} is too large to factor`);
  return { constant, axes };
}

export function isDynamic(length: number, dynamic: readonly DynamicAxis[]): boolean {
  return dynamic.some((axis) => length !== 0 && length % axis.prime === 0);
}
