import type { Device } from './device.js';

/** What the blocks' matrix products are computed in; all else is float32. */
export const computePrecisions = ['float32', 'float16', 'bfloat16'] as const;
export type ComputePrecision = (typeof computePrecisions)[number];
export type HalfPrecision = Exclude<ComputePrecision, 'float32'>;

/**
 * What a device may have. ONNX Runtime multiplies halves on the CPU by widening them, which is slower than float32; WebGPU has no bfloat16, and
 * TensorFlow.js no halves.
 */
export const precisionsOf: Readonly<Record<Device, readonly ComputePrecision[]>> = {
  cpu: ['float32'],
  webgpu: ['float32', 'float16'],
  cuda: ['float32', 'float16', 'bfloat16'],
  tensorflow: ['float32'],
};
