import { hashKey, mix32 } from '../shared/random.js';

/** Keys of one text's dropout: everything that the mask may depend on, and nothing else (not its row, its neighbours, its chunk). */
export interface DropoutKey {
  readonly seed: number;
  readonly step: number;
  readonly site: number;
  readonly layer: number;
  /** The text's number in the step, its view included. */
  readonly text: number;
}

/** Where a text's elements lie in a mask: `count` runs of `length` elements, run i from `start + i * stride`. */
export interface Runs {
  readonly start: number;
  readonly stride: number;
  readonly length: number;
  readonly count: number;
}

const BINS = 4096;
/** Beyond any mask, and twice it is still a 32-bit integer. */
const FARTHEST = 0x3fffffff;

/**
 * Writes zeros where elements are dropped, each with probability p; the rest is left alone. Instead of one random number for each
 * element, one for each dropped element: gaps between dropped elements are geometric, floor(log(u) / log(1 - p)).
 */
export class DropoutFiller {
  /** The gap of each bin of u where all of the bin has the same, else -1: most logarithms are looked up. */
  private readonly gaps: Int32Array;
  private readonly scale: number;

  constructor(probability: number) {
    this.scale = 1 / Math.log(1 - probability);
    this.gaps = Int32Array.from({ length: BINS }, (_, bin) => {
      if (bin === 0) return -1;
      const high = Math.floor(Math.log(bin / BINS) * this.scale);
      const low = Math.floor(Math.log((bin + 1) / BINS) * this.scale);
      return high === low ? low : -1;
    });
  }

  drop(mask: Uint8Array, key: DropoutKey, { start, stride, length, count }: Runs): void {
    const { gaps, scale } = this;
    let counter = hashKey(key.seed, key.step, key.site, key.layer, key.text);
    let place = start;
    let offset = 0;
    let run = 0;
    for (;;) {
      const random = mix32(counter);
      counter = (counter + 0x9e3779b9) | 0;
      let gap = gaps[random >>> 20] as number;
      if (gap < 0) gap = Math.min(FARTHEST, Math.floor(Math.log((random + 0.5) / 4294967296) * scale));
      // Kept a 32-bit integer: as a double the loop takes half as long again.
      offset = (offset + gap) | 0;
      while (offset >= length) {
        offset = (offset - length) | 0;
        place = (place + stride) | 0;
        if (++run >= count) return;
      }
      mask[place + offset] = 0;
      offset = (offset + 1) | 0;
    }
  }
}
