import { concat, cos, customGrad, mul, sin, split, sub, add, tensor1d, type Tensor } from '@tensorflow/tfjs';
import { canRecordRotation, recordedRotation } from '../compiler/kernels/rotation.js';
import type { RopeConfig } from './decoder-config.js';
import { assertNever } from '../shared/errors.js';

export interface Rotation {
  /** [R, T, 1, headDim / 2] */
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Angle per position of each pair of channels, [headDim / 2]. Su et al. 2021; scalings as transformers' modeling_rope_utils. */
export function inverseFrequencies(rope: RopeConfig, headDim: number): Float32Array {
  const plain = Float64Array.from({ length: headDim / 2 }, (_, i) => rope.rope_theta ** ((-2 * i) / headDim));
  return Float32Array.from(plain, (frequency) => scaledFrequency(rope, frequency));
}

function scaledFrequency(rope: RopeConfig, frequency: number): number {
  switch (rope.rope_type) {
    case 'default':
      return frequency;
    case 'linear':
      return frequency / rope.factor;
    case 'llama3': {
      const {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: trained,
      } = rope;
      const wavelength = (2 * Math.PI) / frequency;
      if (wavelength > trained / low) return frequency / factor;
      if (wavelength < trained / high) return frequency;
      const smooth = (trained / wavelength - low) / (high - low);
      return (1 - smooth) * (frequency / factor) + smooth * frequency;
    }
    default:
      return assertNever(rope);
  }
}

/** positions [R, T] (int32) to the rotation of every token. */
export function rotation(positions: Tensor, rope: RopeConfig, headDim: number): Rotation {
  const [rows, tokens] = positions.shape as [number, number];
  const angles = positions
    .cast('float32')
    .reshape([rows, tokens, 1, 1])
    .mul(tensor1d(inverseFrequencies(rope, headDim)));
  return { cos: cos(angles), sin: sin(angles) };
}

function rotateBy(x: Tensor, cosine: Tensor, sine: Tensor): Tensor {
  if (canRecordRotation()) return recordedRotation(x, cosine, sine);
  const [first, second] = split(x, 2, -1) as [Tensor, Tensor];
  return concat([sub(mul(first, cosine), mul(second, sine)), add(mul(second, cosine), mul(first, sine))], -1);
}

/**
 * Rotates x [R, T, H, headDim]: channels i and i + headDim/2 are a pair.
 * The gradient of a rotation is the rotation back, which spares the padding that tfjs' gradient of `split` would do.
 */
export function applyRotation(x: Tensor, { cos: cosine, sin: sine }: Rotation): Tensor {
  const rotate = customGrad((input) => ({
    value: rotateBy(input as Tensor, cosine, sine),
    gradFunc: (dy: Tensor) => [rotateBy(dy, cosine, sine.neg())],
  }));
  return rotate(x);
}
