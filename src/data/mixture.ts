import { hashKey } from '../shared/random.js';
import { BatchSampler } from './sampler.js';
import type { Example, ExampleSet } from './examples.js';

export interface MixedSet {
  readonly set: ExampleSet;
  /** How much of the run it gets, relative to the others. */
  readonly weight: number;
}

export interface MixtureOptions {
  readonly batchExamples: number;
  readonly seed: number;
  /** Of an example, at most. */
  readonly negatives: number;
  /** Whether all examples of a batch come from one set. */
  readonly sameSet: boolean;
}

/** An example and the set that it is from (its index in the mixture). */
export interface DrawnExample {
  readonly set: number;
  readonly example: Example;
}

/**
 * Batches from several sets. Batch `index` is a pure function of sets, weights, seed and index, so that a run resumes at any step; each
 * set goes through a permutation of its examples, then another, and gets its share of the batches to within one.
 */
export class Mixture {
  private readonly turns: Turns;
  /** Groups of examples of each set: whole batches, or single ones. */
  private readonly samplers: readonly BatchSampler[];

  constructor(
    private readonly sets: readonly MixedSet[],
    private readonly options: MixtureOptions,
  ) {
    const batchTexts = options.sameSet ? options.batchExamples : 1;
    this.turns = new Turns(sets.map(({ weight }) => weight));
    this.samplers = sets.map(
      ({ set: { count } }, set) => new BatchSampler({ count, batchTexts, seed: hashKey(options.seed, set) }),
    );
  }

  batch(index: number): DrawnExample[] {
    const { batchExamples, sameSet } = this.options;
    if (sameSet) return this.draw(this.turns.at(index));
    return Array.from({ length: batchExamples }, (_, i) =>
      this.draw(this.turns.at(index * batchExamples + i)),
    ).flat();
  }

  /** Group `number` of a set's examples. */
  private draw({ set, number }: Turn): DrawnExample[] {
    const { set: source } = this.sets[set] as MixedSet;
    const sampler = this.samplers[set] as BatchSampler;
    const epoch = Math.floor(number / sampler.perEpoch);
    return [...sampler.batch(number)].map((index) => ({
      set,
      example: source.example(index, epoch, this.options.negatives),
    }));
  }
}

/** Whose turn it is, and how often it had one before. */
interface Turn {
  readonly set: number;
  readonly number: number;
}

/**
 * Turns of several sets in proportion to their weights: always the one that is furthest behind its share. Asked in their order, each is a step on;
 * an earlier one begins anew. So there is nothing to hold, however many turns a run has.
 */
class Turns {
  private readonly shares: readonly number[];
  private readonly counts: number[];
  private taken = 0;

  constructor(weights: readonly number[]) {
    const sum = weights.reduce((total, weight) => total + weight, 0);
    this.shares = weights.map((weight) => weight / sum);
    this.counts = weights.map(() => 0);
  }

  at(turn: number): Turn {
    if (turn < this.taken) {
      this.taken = 0;
      this.counts.fill(0);
    }
    while (this.taken < turn) this.take();
    return this.take();
  }

  private take(): Turn {
    const lag = this.shares.map((share, set) => share * (this.taken + 1) - (this.counts[set] as number));
    const set = lag.indexOf(Math.max(...lag));
    const number = this.counts[set] as number;
    this.counts[set] = number + 1;
    this.taken += 1;
    return { set, number };
  }
}
