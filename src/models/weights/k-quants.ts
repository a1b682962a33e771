import { halfAt } from './ggml-blocks.js';
import { halfValues } from './half.js';

/*
 * llama.cpp's K-quants: blocks of 256 values in sub-blocks of 16 or 32, each with a scale of few bits under the block's float16 scale d (and
 * minimum m). Layouts: ggml-common.h; values: ggml-quants.c, dequantize_row_*.
 */

/** 16 bytes of 4-bit scale and minimum, 64 bytes of 2-bit q, d, m. Value = d * scale * q - m * minimum. */
export function expandQ2_K(bytes: Uint8Array, values: Float32Array): void {
  expandBlocks(bytes, values, 84, (source, from, target, to, half) => {
    const d = halfAt(source, from + 80, half);
    const m = halfAt(source, from + 82, half);
    for (let i = 0; i < 256; i++) {
      const packed = source[from + (i >> 4)] as number;
      target[to + i] = d * (packed & 15) * crumb(source, from + 16, i) - m * (packed >> 4);
    }
  });
}

/** 32 bytes of third bits, 64 bytes of 2-bit q, 12 bytes of sixteen 6-bit scales, d. Value = d * (scale - 32) * (q - 4 where the third bit is 0). */
export function expandQ3_K(bytes: Uint8Array, values: Float32Array): void {
  expandBlocks(bytes, values, 110, (source, from, target, to, half) => {
    const d = halfAt(source, from + 108, half);
    const scales = from + 96;
    for (let i = 0; i < 256; i++) {
      const group = i >> 4;
      const lower = (source[scales + (group & 7)] as number) >> (group < 8 ? 0 : 4);
      const upper = (source[scales + 8 + (group & 3)] as number) >> (2 * (group >> 2));
      const scale = ((lower & 15) | ((upper & 3) << 4)) - 32;
      const third = ((source[from + (i & 31)] as number) >> (i >> 5)) & 1;
      target[to + i] = d * scale * (crumb(source, from + 32, i) - (third === 1 ? 0 : 4));
    }
  });
}

/** d, m, 12 bytes of eight 6-bit scales and minima, 128 bytes of 4-bit q. Value = d * scale * q - m * minimum. */
export function expandQ4_K(bytes: Uint8Array, values: Float32Array): void {
  expandBlocks(bytes, values, 144, (source, from, target, to, half) => {
    const d = halfAt(source, from, half);
    const m = halfAt(source, from + 2, half);
    for (let part = 0; part < 8; part++) {
      const scale = d * scaleOf(source, from + 4, part);
      const minimum = m * minimumOf(source, from + 4, part);
      for (let i = 32 * part; i < 32 * part + 32; i++)
        target[to + i] = scale * nibble(source, from + 16, i) - minimum;
    }
  });
}

/** d, m, 12 bytes of scales and minima, 32 bytes of fifth bits, 128 bytes of 4-bit q. Value = d * scale * q - m * minimum. */
export function expandQ5_K(bytes: Uint8Array, values: Float32Array): void {
  expandBlocks(bytes, values, 176, (source, from, target, to, half) => {
    const d = halfAt(source, from, half);
    const m = halfAt(source, from + 2, half);
    for (let part = 0; part < 8; part++) {
      const scale = d * scaleOf(source, from + 4, part);
      const minimum = m * minimumOf(source, from + 4, part);
      for (let i = 32 * part; i < 32 * part + 32; i++) {
        const fifth = ((source[from + 16 + (i & 31)] as number) >> part) & 1;
        target[to + i] = scale * (nibble(source, from + 48, i) | (fifth << 4)) - minimum;
      }
    }
  });
}

/** 128 bytes of lower 4 bits, 64 bytes of upper 2 bits, sixteen int8 scales, d. Value = d * scale * (q - 32). */
export function expandQ6_K(bytes: Uint8Array, values: Float32Array): void {
  expandBlocks(bytes, values, 210, (source, from, target, to, half) => {
    const d = halfAt(source, from + 208, half);
    for (let i = 0; i < 256; i++) {
      const scale = ((source[from + 192 + (i >> 4)] as number) << 24) >> 24;
      // The nibbles go 64 bytes at a time, the crumbs 32.
      const byte = source[from + 64 * (i >> 7) + (i & 63)] as number;
      const lower = ((i & 64) === 0 ? byte : byte >> 4) & 15;
      target[to + i] = d * scale * ((lower | (crumb(source, from + 128, i) << 4)) - 32);
    }
  });
}

type ExpandBlock = (
  source: Uint8Array,
  from: number,
  target: Float32Array,
  to: number,
  half: Float32Array,
) => void;

function expandBlocks(
  source: Uint8Array,
  target: Float32Array,
  blockBytes: number,
  expand: ExpandBlock,
): void {
  const half = halfValues();
  for (let from = 0, to = 0; from < source.length; from += blockBytes, to += 256)
    expand(source, from, target, to, half);
}

/** Two bits of value i: 32 bytes hold 128 values, the lowest bits of all 32 first. */
function crumb(source: Uint8Array, at: number, i: number): number {
  return ((source[at + 32 * (i >> 7) + (i & 31)] as number) >> (2 * ((i >> 5) & 3))) & 3;
}

/** Four bits of value i: 32 bytes hold 64 values, the low nibbles of all 32 first. */
function nibble(source: Uint8Array, at: number, i: number): number {
  const byte = source[at + 32 * (i >> 6) + (i & 31)] as number;
  return (i & 32) === 0 ? byte & 15 : byte >> 4;
}

/** Six-bit scale of sub-block 0 to 7 in 12 bytes: four in the low bits of bytes 0 to 3, the rest spread (get_scale_min_k4). */
function scaleOf(source: Uint8Array, at: number, part: number): number {
  if (part < 4) return (source[at + part] as number) & 63;
  return ((source[at + part + 4] as number) & 15) | (((source[at + part - 4] as number) >> 6) << 4);
}

function minimumOf(source: Uint8Array, at: number, part: number): number {
  if (part < 4) return (source[at + part + 4] as number) & 63;
  return ((source[at + part + 4] as number) >> 4) | (((source[at + part] as number) >> 6) << 4);
}
