import { internalError } from '../../shared/errors.js';

/** Number of the 65,536 float16 bit patterns -> float32; 256 KiB, made once at first use. */
let halfTable: Float32Array | undefined;

/** All float16 values by bit pattern [65536] (IEEE 754-2019 binary16). */
export function halfValues(): Float32Array {
  if (halfTable !== undefined) return halfTable;
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 31
          ? fraction === 0
            ? Infinity
            : NaN
          : (1024 + fraction) * 2 ** (exponent - 25);
    table[bits] = bits & 0x8000 ? -size : size;
  }
  halfTable = table;
  return table;
}

/** Expands float16 bit patterns. */
export function halfToFloat(
  source: Uint16Array,
  target: Float32Array = new Float32Array(source.length),
): Float32Array {
  const table = halfValues();
  for (let i = 0; i < source.length; i++) target[i] = table[source[i] as number] as number;
  return target;
}

/** Expands bfloat16 bit patterns: the upper half of a float32's bits. */
export function brainToFloat(
  source: Uint16Array,
  target: Float32Array = new Float32Array(source.length),
): Float32Array {
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < source.length; i++) bits[i] = (source[i] as number) << 16;
  return target;
}

/** Rounds to the nearest float16, ties to even; beyond 65,519.99 becomes infinity. */
export function floatToHalf(source: Float32Array): Uint16Array {
  const bits = bitsOf(source);
  const target = new Uint16Array(source.length);
  const scratch = new Float32Array(1);
  const scratchBits = new Uint32Array(scratch.buffer);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i] as number;
    const size = x & 0x7fffffff;
    let half: number;
    if (size > 0x7f800000) half = 0x7e00;
    else if (size >= 0x47800000) half = 0x7c00;
    else if (size < 0x38800000) {
      // Subnormal halves are multiples of 2^-24, the spacing of float32 at 0.5: the addition does the rounding.
      scratch[0] = Math.abs(source[i] as number) + 0.5;
      half = (scratchBits[0] as number) - 0x3f000000;
    } else half = (size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13;
    target[i] = ((x >>> 16) & 0x8000) | half;
  }
  return target;
}

/** Rounds to the nearest bfloat16, ties to even. */
export function floatToBrain(source: Float32Array): Uint16Array {
  const bits = bitsOf(source);
  const target = new Uint16Array(source.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i] as number;
    target[i] = (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return target;
}

/**
 * What float16 is fed for a float32 weight of products in a half precision: itself rounded, or rounded to bfloat16 first, whose 8 bits float16
 * holds but for numbers below 2^-17, which move by 3e-8 at most (JavaScript has no bfloat16 to feed). Undefined where a number is too large.
 */
export function fedAsHalf(weight: Float32Array, precision: 'float16' | 'bfloat16'): Uint16Array | undefined {
  const rounded = precision === 'bfloat16' ? brainToFloat(floatToBrain(weight)) : weight;
  const halves = floatToHalf(rounded);
  return halves.every((half) => (half & 0x7c00) !== 0x7c00) ? halves : undefined;
}

function bitsOf(source: Float32Array): Uint32Array {
  if (source.byteOffset % 4 !== 0) throw internalError('unaligned float32 array');
  return new Uint32Array(source.buffer, source.byteOffset, source.length);
}
