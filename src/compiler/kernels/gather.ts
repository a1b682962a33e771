import { internalError } from '../../shared/errors.js';
import { elementType, type RecordKernel } from '../recorder.js';
import { attributeNumber, attributeNumbers, input } from './access.js';

const gather: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const indices = input(inputs, 'indices');
  const rank = x.shape.length;
  const axis = (attributeNumber(attributes, 'axis', 0) + rank) % rank;
  if (attributeNumber(attributes, 'batchDims', 0) !== 0)
    throw internalError('gather with batchDims cannot be traced');
  const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
  return recorder.emit(
    'Gather',
    [x, indices],
    { shape, type: elementType(x.dtype) },
    { axis: { kind: 'int', value: axis } },
  );
};

/** out[segmentIds[i]] += x[i]: the gradient of `gather`. */
const unsortedSegmentSum: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const segmentIds = input(inputs, 'segmentIds');
  const shape = [attributeNumber(attributes, 'numSegments'), ...x.shape.slice(segmentIds.shape.length)];
  const type = elementType(x.dtype);
  const zeros = recorder.node('Expand', [recorder.scalar(0, type), recorder.shape(shape)], { shape, type });
  const indexShape = [...segmentIds.shape, 1];
  const wide = recorder.node(
    'Cast',
    [segmentIds],
    { shape: segmentIds.shape, type: 'int64' },
    { to: { kind: 'int', value: 7 } },
  );
  const indices = recorder.node('Reshape', [wide, recorder.reshapeTarget(indexShape)], {
    shape: indexShape,
    type: 'int64',
  });
  return recorder.emit(
    'ScatterND',
    [zeros, indices, x],
    { shape, type },
    { reduction: { kind: 'string', value: 'add' } },
  );
};

const gatherNd: RecordKernel = (recorder, inputs) => {
  const params = input(inputs, 'params');
  const indices = input(inputs, 'indices');
  const depth = indices.shape[indices.shape.length - 1] as number;
  const shape = [...indices.shape.slice(0, -1), ...params.shape.slice(depth)];
  const wide = recorder.node(
    'Cast',
    [indices],
    { shape: indices.shape, type: 'int64' },
    { to: { kind: 'int', value: 7 } },
  );
  return recorder.emit('GatherND', [params, wide], { shape, type: elementType(params.dtype) });
};

const scatterNd: RecordKernel = (recorder, inputs, attributes) => {
  const indices = input(inputs, 'indices');
  const updates = input(inputs, 'updates');
  const shape = attributeNumbers(attributes, 'shape');
  const type = elementType(updates.dtype);
  const zeros = recorder.node('Expand', [recorder.scalar(0, type), recorder.shape(shape)], { shape, type });
  const wide = recorder.node(
    'Cast',
    [indices],
    { shape: indices.shape, type: 'int64' },
    { to: { kind: 'int', value: 7 } },
  );
  return recorder.emit(
    'ScatterND',
    [zeros, wide, updates],
    { shape, type },
    { reduction: { kind: 'string', value: 'add' } },
  );
};

/** Not ONNX's OneHot: that counts negative indices from the end (tfjs: no place is on) and takes no scalar. */
const oneHot: RecordKernel = (recorder, inputs, attributes) => {
  const indices = input(inputs, 'indices');
  const depth = attributeNumber(attributes, 'depth');
  const type = elementType((attributes['dtype'] as 'float32' | undefined) ?? 'float32');
  const column = [...indices.shape, 1];
  const shape = [...indices.shape, depth];
  const places = recorder.constant(
    Int32Array.from({ length: depth }, (_, place) => place),
    [depth],
    'int32',
  );
  const compared = recorder.node('Reshape', [indices, recorder.reshapeTarget(column)], {
    shape: column,
    type: 'int32',
  });
  const on = recorder.node('Equal', [compared, places], { shape, type: 'bool' });
  const value = (key: string, fallback: number): string =>
    recorder.scalar(attributeNumber(attributes, key, fallback), type);
  return recorder.emit('Where', [on, value('onValue', 1), value('offValue', 0)], { shape, type });
};

export const gatherKernels: Readonly<Record<string, RecordKernel>> = {
  GatherV2: gather,
  UnsortedSegmentSum: unsortedSegmentSum,
  GatherNd: gatherNd,
  ScatterNd: scatterNd,
  OneHot: oneHot,
};
