import { broadcast_util } from '@tensorflow/tfjs';
import type { TensorInfo } from '@tensorflow/tfjs';
import { elementType, type RecordKernel, type Recorder } from '../recorder.js';
import { input } from './access.js';

export interface MatMulOptions {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

function swapped(shape: readonly number[]): number[] {
  return [...shape.slice(0, -2), shape[shape.length - 1] as number, shape[shape.length - 2] as number];
}

function transposed(recorder: Recorder, x: TensorInfo): TensorInfo {
  const rank = x.shape.length;
  const perm = [...Array(rank).keys()];
  perm[rank - 2] = rank - 1;
  perm[rank - 1] = rank - 2;
  return recorder.emit(
    'Transpose',
    [x],
    { shape: swapped(x.shape), type: elementType(x.dtype) },
    { perm: { kind: 'ints', value: perm } },
  );
}

export function recordMatMul(
  recorder: Recorder,
  [a, b]: readonly [TensorInfo, TensorInfo],
  options: MatMulOptions,
): TensorInfo {
  const left = options.transposeA ? swapped(a.shape) : a.shape;
  const right = options.transposeB ? swapped(b.shape) : b.shape;
  const batch = broadcast_util.assertAndGetBroadcastShape(left.slice(0, -2), right.slice(0, -2));
  const shape = [...batch, left[left.length - 2] as number, right[right.length - 1] as number];
  const type = elementType(a.dtype);
  if (!options.transposeA && !options.transposeB) return recorder.emit('MatMul', [a, b], { shape, type });
  if (recorder.options.contrib && type === 'float32') {
    // Reads the operand transposed while packing it for the product: no copy.
    return recorder.emit(
      'FusedMatMul',
      [a, b],
      { shape, type },
      {
        transA: { kind: 'int', value: options.transposeA ? 1 : 0 },
        transB: { kind: 'int', value: options.transposeB ? 1 : 0 },
      },
      'com.microsoft',
    );
  }
  return recorder.emit(
    'MatMul',
    [options.transposeA ? transposed(recorder, a) : a, options.transposeB ? transposed(recorder, b) : b],
    { shape, type },
  );
}

const batchMatMul: RecordKernel = (recorder, inputs, attributes) =>
  recordMatMul(recorder, [input(inputs, 'a'), input(inputs, 'b')], {
    transposeA: attributes['transposeA'] === true,
    transposeB: attributes['transposeB'] === true,
  });

export const matmulKernels: Readonly<Record<string, RecordKernel>> = { BatchMatMul: batchMatMul };
