import { halfValues } from './half.js';

/** float16 at byte `at`. */
export function halfAt(source: Uint8Array, at: number, half: Float32Array): number {
  return half[(source[at] as number) | ((source[at + 1] as number) << 8)] as number;
}

/** Block: float16 scale d, 32 int8 q. Value = d * q. */
export function expandQ8_0(source: Uint8Array, target: Float32Array): void {
  const half = halfValues();
  const signed = new Int8Array(source.buffer, source.byteOffset, source.length);
  for (let from = 0, to = 0; from < source.length; from += 34, to += 32) {
    const scale = half[(source[from] as number) | ((source[from + 1] as number) << 8)] as number;
    for (let i = 0; i < 32; i++) target[to + i] = scale * (signed[from + 2 + i] as number);
  }
}

/** Block: float16 scale d, 16 bytes of two 4-bit q, the low nibbles the first half. Value = d * (q - 8). */
export function expandQ4_0(source: Uint8Array, target: Float32Array): void {
  const half = halfValues();
  for (let from = 0, to = 0; from < source.length; from += 18, to += 32) {
    const scale = half[(source[from] as number) | ((source[from + 1] as number) << 8)] as number;
    for (let i = 0; i < 16; i++) {
      const pair = source[from + 2 + i] as number;
      target[to + i] = scale * ((pair & 15) - 8);
      target[to + 16 + i] = scale * ((pair >> 4) - 8);
    }
  }
}

/** Block: float16 scale d, float16 minimum m, 16 bytes of two 4-bit q, the low nibbles the first half. Value = d * q + m. */
export function expandQ4_1(source: Uint8Array, target: Float32Array): void {
  const half = halfValues();
  for (let from = 0, to = 0; from < source.length; from += 20, to += 32) {
    const scale = half[(source[from] as number) | ((source[from + 1] as number) << 8)] as number;
    const minimum = half[(source[from + 2] as number) | ((source[from + 3] as number) << 8)] as number;
    for (let i = 0; i < 16; i++) {
      const pair = source[from + 4 + i] as number;
      target[to + i] = scale * (pair & 15) + minimum;
      target[to + 16 + i] = scale * (pair >> 4) + minimum;
    }
  }
}

/** Block: float16 scale d, 32 fifth bits, 16 bytes of two 4-bit q, the low nibbles the first half. Value = d * (q - 16). */
export function expandQ5_0(source: Uint8Array, target: Float32Array): void {
  const half = halfValues();
  for (let from = 0, to = 0; from < source.length; from += 22, to += 32) {
    const scale = halfAt(source, from, half);
    fiveBits(source, from + 2, (i, q) => (target[to + i] = scale * (q - 16)));
  }
}

/** Block: float16 scale d, float16 minimum m, then as Q5_0. Value = d * q + m. */
export function expandQ5_1(source: Uint8Array, target: Float32Array): void {
  const half = halfValues();
  for (let from = 0, to = 0; from < source.length; from += 24, to += 32) {
    const scale = halfAt(source, from, half);
    const minimum = halfAt(source, from + 2, half);
    fiveBits(source, from + 4, (i, q) => (target[to + i] = scale * q + minimum));
  }
}

/** Four bytes of fifth bits and 16 bytes of nibbles. */
function fiveBits(source: Uint8Array, at: number, use: (place: number, q: number) => void): void {
  for (let i = 0; i < 16; i++) {
    const pair = source[at + 4 + i] as number;
    const low = ((source[at + (i >> 3)] as number) >> (i & 7)) & 1;
    const high = ((source[at + 2 + (i >> 3)] as number) >> (i & 7)) & 1;
    use(i, (pair & 15) | (low << 4));
    use(i + 16, (pair >> 4) | (high << 4));
  }
}

/** The 16 levels of IQ4_NL and IQ4_XS (ggml-common.h, kvalues_iq4nl). */
const unevenLevels = Int8Array.of(
  ...[-127, -104, -83, -65, -49, -35, -22, -10],
  ...[1, 13, 25, 38, 53, 69, 89, 113],
);

/** Block: float16 scale d, 16 bytes of two 4-bit q, the low nibbles the first half. Value = d * level[q]. */
export function expandIQ4_NL(source: Uint8Array, target: Float32Array): void {
  const half = halfValues();
  for (let from = 0, to = 0; from < source.length; from += 18, to += 32)
    unevenBlock(source, from + 2, { target, to, scale: halfAt(source, from, half) });
}

/** Block of 256: float16 d, upper 2 bits of eight 6-bit scales, their lower 4 bits, eight times 16 bytes as in IQ4_NL. Value = d * (scale - 32) * level[q]. */
export function expandIQ4_XS(source: Uint8Array, target: Float32Array): void {
  const half = halfValues();
  for (let from = 0, to = 0; from < source.length; from += 136, to += 256) {
    const d = halfAt(source, from, half);
    for (let part = 0; part < 8; part++) {
      const upper = (source[from + 2 + (part >> 2)] as number) >> (2 * (part & 3));
      const lower = (source[from + 4 + (part >> 1)] as number) >> (4 * (part & 1));
      const scale = d * (((lower & 15) | ((upper & 3) << 4)) - 32);
      unevenBlock(source, from + 8 + 16 * part, { target, to: to + 32 * part, scale });
    }
  }
}

function unevenBlock(
  source: Uint8Array,
  at: number,
  { target, to, scale }: { readonly target: Float32Array; readonly to: number; readonly scale: number },
): void {
  for (let i = 0; i < 16; i++) {
    const pair = source[at + i] as number;
    target[to + i] = scale * (unevenLevels[pair & 15] as number);
    target[to + 16 + i] = scale * (unevenLevels[pair >> 4] as number);
  }
}
