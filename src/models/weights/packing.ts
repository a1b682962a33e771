import { floatToBrain, floatToHalf, halfValues } from './half.js';

/** Float32 values to a stored type: the other way of `storageTypes`, for the types that weights are brought to in memory. */
export interface Packing {
  readonly storedType: 'BF16' | 'Q8_0' | 'Q4_0';
  /** Values that are packed together. */
  readonly blockSize: number;
  readonly blockBytes: number;
  /** Packs whole blocks. */
  readonly pack: (source: Float32Array, target: Uint8Array) => void;
}

export const packings = {
  bfloat16: { storedType: 'BF16', blockSize: 1, blockBytes: 2, pack: packBrain },
  int8: { storedType: 'Q8_0', blockSize: 32, blockBytes: 34, pack: packQ8_0 },
  int4: { storedType: 'Q4_0', blockSize: 32, blockBytes: 18, pack: packQ4_0 },
} as const satisfies Record<string, Packing>;

function packBrain(source: Float32Array, target: Uint8Array): void {
  new Uint16Array(target.buffer, target.byteOffset, source.length).set(floatToBrain(source));
}

/** d = largest |x| / 127, q = x / d to the nearest, away from zero where two are (ggml-quants.c, quantize_row_q8_0_ref). */
function packQ8_0(source: Float32Array, target: Uint8Array): void {
  for (let from = 0, to = 0; from < source.length; from += 32, to += 34) {
    let largest = 0;
    for (let i = from; i < from + 32; i++) largest = Math.max(largest, Math.abs(source[i] as number));
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    writeHalf(target, to, scale);
    for (let i = 0; i < 32; i++) {
      const value = Math.fround((source[from + i] as number) * inverse);
      target[to + 2 + i] = Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
    }
  }
}

/** d = x / -8 for the x that is farthest from zero, q = x / d + 8.5 rounded down, at most 15 (ggml-quants.c, quantize_row_q4_0_ref). */
function packQ4_0(source: Float32Array, target: Uint8Array): void {
  for (let from = 0, to = 0; from < source.length; from += 32, to += 18) {
    let farthest = 0;
    for (let i = from; i < from + 32; i++) {
      const value = source[i] as number;
      if (Math.abs(value) > Math.abs(farthest)) farthest = value;
    }
    const scale = Math.fround(farthest / -8);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    writeHalf(target, to, scale);
    const level = (i: number): number =>
      Math.min(15, Math.trunc(Math.fround(Math.fround((source[from + i] as number) * inverse) + 8.5)));
    for (let i = 0; i < 16; i++) target[to + 2 + i] = level(i) | (level(i + 16) << 4);
  }
}

const half = new Float32Array(1);

function writeHalf(target: Uint8Array, at: number, value: number): void {
  half[0] = value;
  let bits = floatToHalf(half)[0] as number;
  // A scale that does not fit becomes the largest that does.
  if (!Number.isFinite(halfValues()[bits])) bits = (bits & 0x8000) | 0x7bff;
  target[at] = bits & 255;
  target[at + 1] = bits >> 8;
}
