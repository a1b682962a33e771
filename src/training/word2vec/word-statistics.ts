import { mix32 } from '../../shared/random.js';

/** Words that a table of random words has places for: enough that the rarest has some. */
const PLACES = 1 << 20;

/** A stream of random 32-bit integers, a pure function of its key: quick, because there are some for every pair of words. */
export class RandomIntegers {
  private count = 0;
  constructor(private readonly key: number) {}

  next(): number {
    this.count = (this.count + 0x9e3779b9) | 0;
    return mix32(this.count ^ this.key);
  }

  /** Integer in [0, n). */
  below(n: number): number {
    return Math.floor((this.next() / 0x1_0000_0000) * n);
  }
}

/** The table of random words: word w stands in it in proportion to `counts[w] ** exponent`. */
export function negativeTable(counts: Float64Array, exponent: number): Int32Array {
  const weights = counts.map((count) => (count === 0 ? 0 : count ** exponent));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const table = new Int32Array(PLACES);
  let word = 0;
  let reached = (weights[0] ?? 0) / total;
  for (let place = 0; place < PLACES; place++) {
    while (reached * PLACES < place + 0.5 && word < weights.length - 1) {
      word += 1;
      reached += (weights[word] ?? 0) / total;
    }
    table[place] = word;
  }
  return table;
}

/**
 * With which share of 2^32 a word is kept: `sqrt(t / f) + t / f` for a word that makes up the share f of the text, as the original's code
 * has it (its paper has only the first term); all of them where t is 0.
 */
export function keptShares(counts: Float64Array, subsample: number): Float64Array {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => {
    const share = (subsample * total) / count;
    return subsample === 0 ? Infinity : (Math.sqrt(share) + share) * 0x1_0000_0000;
  });
}
