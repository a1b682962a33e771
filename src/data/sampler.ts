import { hashKey, permutation, shuffledIndex } from '../shared/random.js';

export interface SamplerOptions {
  /** Number of texts. */
  readonly count: number;
  /** Texts of a batch; all of them where there are fewer. */
  readonly batchTexts: number;
  readonly seed: number;
}

/**
 * Which texts a step sees: a pure function of the options and the step, so that a run resumes at any step. Each epoch is another permutation;
 * what does not fill a last batch waits for a later epoch. No text is twice in a batch.
 */
export class BatchSampler {
  /** Texts of a batch. */
  readonly size: number;
  /** Batches of an epoch. */
  readonly perEpoch: number;
  /** The last epoch's order, kept because all of its steps ask for it. */
  private latest: { readonly epoch: number; readonly order: (place: number) => number } | undefined;

  constructor(private readonly options: SamplerOptions) {
    this.size = Math.min(options.batchTexts, options.count);
    this.perEpoch = this.size === 0 ? 0 : Math.floor(options.count / this.size);
  }

  /** @param step counts from 0 */
  batch(step: number): Uint32Array {
    const { size, perEpoch } = this;
    if (size === 0) return new Uint32Array(0);
    const order = this.order(Math.floor(step / perEpoch));
    const start = (step % perEpoch) * size;
    return Uint32Array.from({ length: size }, (_, place) => order(start + place));
  }

  private order(epoch: number): (place: number) => number {
    const { count, seed } = this.options;
    if (this.latest?.epoch !== epoch) this.latest = { epoch, order: shuffled(count, hashKey(seed, epoch)) };
    return this.latest.order;
  }
}

/** Longer orders are computed place by place. */
export const longestHeldOrder = 1 << 22;

/** Place i of a shuffled 0..count-1. */
export function shuffled(count: number, seed: number): (place: number) => number {
  if (count > longestHeldOrder) return shuffledIndex(count, seed);
  const order = permutation(count, seed);
  return (place) => order[place] ?? 0;
}
