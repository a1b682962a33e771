import { backend_util, slice_util, util } from '@tensorflow/tfjs';
import type { TensorInfo } from '@tensorflow/tfjs';
import { internalError } from '../../shared/errors.js';
import { elementType, type RecordKernel, type Recorder } from '../recorder.js';
import { attributeNumber, attributeNumbers, input, sameShape } from './access.js';

function reshapeTo(recorder: Recorder, x: TensorInfo, shape: number[]): TensorInfo {
  const type = elementType(x.dtype);
  if (sameShape(x.shape, shape)) return recorder.emit('Identity', [x], { shape, type });
  return recorder.emit('Reshape', [x, recorder.reshapeTarget(shape)], { shape, type });
}

/** Replaces a -1. In big integers: with dynamic axes the number of elements is no longer exact in floating point. */
function inferShape(from: readonly number[], to: readonly number[]): number[] {
  const size = (shape: readonly number[]): bigint =>
    shape.reduce((product, length) => product * BigInt(length), 1n);
  const known = size(to.filter((length) => length !== -1));
  const shape = to.map((length) => (length === -1 && known !== 0n ? Number(size(from) / known) : length));
  if (size(shape) !== size(from))
    throw internalError(`cannot reshape [${from.join(', ')}] to [${to.join(', ')}]`);
  return shape;
}

const reshape: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  return reshapeTo(recorder, x, inferShape(x.shape, attributeNumbers(attributes, 'shape')));
};

const expandDims: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'input');
  const dim = attributeNumber(attributes, 'dim');
  const shape = [...x.shape];
  shape.splice(dim < 0 ? x.shape.length + dim + 1 : dim, 0, 1);
  return reshapeTo(recorder, x, shape);
};

const transpose: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const perm = attributeNumbers(attributes, 'perm');
  const shape = perm.map((axis) => x.shape[axis] as number);
  return recorder.emit(
    'Transpose',
    [x],
    { shape, type: elementType(x.dtype) },
    { perm: { kind: 'ints', value: perm } },
  );
};

/** Axes that are kept whole are not named, so that dynamic axes pass through. */
function sliceOf(
  recorder: Recorder,
  x: TensorInfo,
  begin: readonly number[],
  size: readonly number[],
): TensorInfo {
  const shape = [...size];
  const type = elementType(x.dtype);
  const axes = shape.map((_, axis) => axis).filter((axis) => shape[axis] !== x.shape[axis]);
  if (axes.length === 0) return recorder.emit('Identity', [x], { shape, type });
  const starts = axes.map((axis) => begin[axis] as number);
  const ends = axes.map((axis) => (begin[axis] as number) + (size[axis] as number));
  for (const [index, axis] of axes.entries())
    recorder.expectLengths(x.shape[axis] as number, [
      starts[index] as number,
      ends[index] as number,
      shape[axis] as number,
    ]);
  return recorder.emit('Slice', [x, recorder.shape(starts), recorder.shape(ends), recorder.int64s(axes)], {
    shape,
    type,
  });
}

const slice: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const [begin, size] = slice_util.parseSliceParams(
    { shape: x.shape, rank: x.shape.length } as never,
    attributeNumbers(attributes, 'begin'),
    attributes['size'] as number | number[],
  );
  return sliceOf(recorder, x, begin ?? [], size ?? []);
};

const split: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const axis = util.parseAxisParam(attributeNumber(attributes, 'axis'), x.shape)[0] as number;
  const sizes = backend_util.prepareSplitSize(x, attributes['numOrSizeSplits'] as number | number[], axis);
  const begin = x.shape.map(() => 0);
  return sizes.map((length) => {
    const size = [...x.shape];
    size[axis] = length;
    const part = sliceOf(recorder, x, [...begin], size);
    begin[axis] = (begin[axis] as number) + length;
    return part;
  });
};

function concatenate(recorder: Recorder, parts: readonly TensorInfo[], axis: number): TensorInfo {
  const shape = backend_util.computeOutShape(
    parts.map((part) => part.shape),
    axis,
  );
  for (const part of parts) recorder.expectLengths(part.shape[axis] as number, [shape[axis] as number]);
  return recorder.emit(
    'Concat',
    parts,
    { shape, type: elementType((parts[0] as TensorInfo).dtype) },
    { axis: { kind: 'int', value: axis } },
  );
}

const concat: RecordKernel = (recorder, inputs, attributes) => {
  const parts = Object.values(inputs);
  const axis = util.parseAxisParam(
    attributeNumber(attributes, 'axis'),
    (parts[0] as TensorInfo).shape,
  )[0] as number;
  return concatenate(recorder, parts, axis);
};

const pack: RecordKernel = (recorder, inputs, attributes) => {
  const parts = Object.values(inputs);
  const rank = (parts[0] as TensorInfo).shape.length + 1;
  const axis = (attributeNumber(attributes, 'axis') + rank) % rank;
  const expanded = parts.map((part) =>
    reshapeTo(recorder, part, [...part.shape.slice(0, axis), 1, ...part.shape.slice(axis)]),
  );
  return concatenate(recorder, expanded, axis);
};

const unpack: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'value');
  const axis = (attributeNumber(attributes, 'axis') + x.shape.length) % x.shape.length;
  const rest = x.shape.filter((_, i) => i !== axis);
  return Array.from({ length: x.shape[axis] as number }, (_, index) => {
    const begin = x.shape.map((_, i) => (i === axis ? index : 0));
    const size = x.shape.map((length, i) => (i === axis ? 1 : length));
    return reshapeTo(recorder, sliceOf(recorder, x, begin, size), rest);
  });
};

const pad: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const paddings = attributes['paddings'] as [number, number][];
  const shape = x.shape.map(
    (length, axis) => length + (paddings[axis]?.[0] ?? 0) + (paddings[axis]?.[1] ?? 0),
  );
  const type = elementType(x.dtype);
  for (const [axis, length] of shape.entries()) recorder.expectLengths(x.shape[axis] as number, [length]);
  const amounts = recorder.shape([
    ...paddings.map(([before]) => before),
    ...paddings.map(([, after]) => after),
  ]);
  return recorder.emit(
    'Pad',
    [x, amounts, recorder.scalar(attributeNumber(attributes, 'constantValue', 0), type)],
    { shape, type },
  );
};

const tile: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const reps = attributeNumbers(attributes, 'reps');
  const shape = x.shape.map((length, axis) => length * (reps[axis] as number));
  const type = elementType(x.dtype);
  if (sameShape(shape, x.shape)) return recorder.emit('Identity', [x], { shape, type });
  return recorder.emit('Tile', [x, recorder.shape(reps)], { shape, type });
};

const reverse: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const dims = attributes['dims'] as number | number[] | null | undefined;
  const axes = util.parseAxisParam(dims ?? x.shape.map((_, axis) => axis), x.shape);
  const all = (value: number): string => recorder.int64s(axes.map(() => value));
  // From the last element down past the first: ONNX writes that end as the most negative integer.
  return recorder.emit('Slice', [x, all(-1), all(-2147483648), recorder.int64s(axes), all(-1)], {
    shape: x.shape,
    type: elementType(x.dtype),
  });
};

const range: RecordKernel = (recorder, _inputs, attributes) => {
  const start = attributeNumber(attributes, 'start');
  const stop = attributeNumber(attributes, 'stop');
  const stepSize = attributeNumber(attributes, 'step');
  const type = elementType((attributes['dtype'] as 'float32' | undefined) ?? 'float32');
  const count = Math.max(0, Math.ceil((stop - start) / stepSize));
  return recorder.emit(
    'Range',
    [start, start + count * stepSize, stepSize].map((value) => recorder.scalar(value, type)),
    { shape: [count], type },
  );
};

export const shapeKernels: Readonly<Record<string, RecordKernel>> = {
  Reshape: reshape,
  ExpandDims: expandDims,
  Transpose: transpose,
  Slice: slice,
  SplitV: split,
  Concat: concat,
  Pack: pack,
  Unpack: unpack,
  PadV2: pad,
  Tile: tile,
  Reverse: reverse,
  Range: range,
};
