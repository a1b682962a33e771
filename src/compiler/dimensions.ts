import { internalError } from '../shared/errors.js';

/**
 * Dynamic axes. A dynamic axis is traced with a large prime as its length, so that every length in the trace factors uniquely into
 * a constant and powers of the primes: 5 * 100003 can only be "5 times the batch". No model dimension is a multiple of them.
 */
export const AXIS_PRIMES = [100003, 99991, 99989, 99971] as const;

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
