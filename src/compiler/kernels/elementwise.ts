import { backend_util } from '@tensorflow/tfjs';
import type { TensorInfo } from '@tensorflow/tfjs';
import { internalError } from '../../shared/errors.js';
import { elementType, type RecordKernel, type Recorder } from '../recorder.js';
import { attributeNumber, attributeString, input, sameShape } from './access.js';
import { castTo } from './cast.js';

/** One ONNX operator on one tensor. */
function unary(op: string): RecordKernel {
  return (recorder, inputs) => {
    const x = input(inputs, 'x');
    return recorder.emit(op, [x], { shape: x.shape, type: elementType(x.dtype) });
  };
}

/** One ONNX operator on two tensors that broadcast. `type` is that of the output where it differs from the inputs'. */
function binary(op: string, type?: 'bool'): RecordKernel {
  return (recorder, inputs) => binaryNode(recorder, op, [input(inputs, 'a'), input(inputs, 'b')], type);
}

function binaryNode(
  recorder: Recorder,
  op: string,
  [a, b]: readonly [TensorInfo, TensorInfo],
  type?: 'bool',
): TensorInfo {
  const shape = backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
  const simple = op === 'Mul' || op === 'Add' ? neutral(recorder, op, [a, b], shape) : undefined;
  if (simple !== undefined) return simple;
  const accumulated = op === 'Add' ? accumulatedProduct(recorder, [a, b]) : undefined;
  if (accumulated !== undefined) return accumulated;
  return recorder.emit(op, operands(recorder, a, b, shape), { shape, type: type ?? elementType(a.dtype) });
}

/** Inner dimensions up to this are cheap: a product that is used twice may be computed twice. */
const CHEAP_INNER = 64;

/** y + A B with a short inner dimension (an adapter's second product) as one Gemm, which adds onto y while it multiplies. */
function accumulatedProduct(
  recorder: Recorder,
  [y, product]: readonly [TensorInfo, TensorInfo],
): TensorInfo | undefined {
  if (!recorder.options.contrib || y.shape.length !== 2 || !sameShape(y.shape, product.shape))
    return undefined;
  const node = recorder.producer(product);
  if (node === undefined || (node.op !== 'MatMul' && node.op !== 'FusedMatMul')) return undefined;
  const left = recorder.shapeOf(node.inputs[0] as string);
  const transposed = node.attributes['transA']?.value === 1;
  if (left === undefined || (left[transposed ? 0 : 1] as number) > CHEAP_INNER) return undefined;
  const { transA, transB } = node.attributes;
  return recorder.emit(
    'Gemm',
    [...node.inputs, y],
    { shape: y.shape, type: 'float32' },
    { ...(transA === undefined ? {} : { transA }), ...(transB === undefined ? {} : { transB }) },
  );
}

/** tfjs gradients multiply by arrays of ones to broadcast: that is an Expand, or nothing at all. */
function neutral(
  recorder: Recorder,
  op: 'Mul' | 'Add',
  [a, b]: readonly [TensorInfo, TensorInfo],
  shape: number[],
): TensorInfo | undefined {
  const element = op === 'Mul' ? 1 : 0;
  const [x, other] = recorder.uniformValue(a) === element ? [b, a] : [a, b];
  if (recorder.uniformValue(other) !== element) return undefined;
  const type = elementType(x.dtype);
  if (sameShape(x.shape, shape)) return recorder.emit('Identity', [x], { shape, type });
  return recorder.emit('Expand', [x, recorder.shape(shape)], { shape, type });
}

/** A constant whose elements are all equal is fed as a scalar where the other operand already has the output's shape. */
function operands(
  recorder: Recorder,
  a: TensorInfo,
  b: TensorInfo,
  shape: number[],
): (TensorInfo | string)[] {
  const scalar = (x: TensorInfo, other: TensorInfo): TensorInfo | string => {
    const uniform = recorder.uniformValue(x);
    return uniform !== undefined && sameShape(other.shape, shape)
      ? recorder.scalar(uniform, elementType(x.dtype))
      : x;
  };
  const left = scalar(a, b);
  // Two constants: one of them has to carry the shape.
  return [left, typeof left === 'string' ? b : scalar(b, a)];
}

const rsqrt: RecordKernel = (recorder, inputs) => {
  const x = input(inputs, 'x');
  const output = { shape: x.shape, type: elementType(x.dtype) };
  return recorder.emit('Reciprocal', [recorder.emit('Sqrt', [x], output)], output);
};

const square: RecordKernel = (recorder, inputs) => {
  const x = input(inputs, 'x');
  return recorder.emit('Mul', [x, x], { shape: x.shape, type: elementType(x.dtype) });
};

const squaredDifference: RecordKernel = (recorder, inputs) => {
  const difference = binaryNode(recorder, 'Sub', [input(inputs, 'a'), input(inputs, 'b')]);
  return recorder.emit('Mul', [difference, difference], {
    shape: difference.shape,
    type: elementType(difference.dtype),
  });
};

const addN: RecordKernel = (recorder, inputs) => {
  const [first, ...rest] = Object.values(inputs);
  return rest.reduce((sum, x) => binaryNode(recorder, 'Add', [sum, x]), first as TensorInfo);
};

const notEqual: RecordKernel = (recorder, inputs) => {
  const equal = binaryNode(recorder, 'Equal', [input(inputs, 'a'), input(inputs, 'b')], 'bool');
  return recorder.emit('Not', [equal], { shape: equal.shape, type: 'bool' });
};

/** tfjs: 1 where x > 0, else alpha. */
const step: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const type = elementType(x.dtype);
  const positive = recorder.emit('Greater', [x, recorder.scalar(0, type)], { shape: x.shape, type: 'bool' });
  const alpha = attributeNumber(attributes, 'alpha', 0);
  return recorder.emit('Where', [positive, recorder.scalar(1, type), recorder.scalar(alpha, type)], {
    shape: x.shape,
    type,
  });
};

const clip: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const type = elementType(x.dtype);
  const low = recorder.scalar(attributeNumber(attributes, 'clipValueMin'), type);
  const high = recorder.scalar(attributeNumber(attributes, 'clipValueMax'), type);
  return recorder.emit('Clip', [x, low, high], { shape: x.shape, type });
};

const cast: RecordKernel = (recorder, inputs, attributes) => {
  const x = input(inputs, 'x');
  const type = elementType(attributeString(attributes, 'dtype') as 'float32');
  if (type === x.dtype) return recorder.emit('Identity', [x], { shape: x.shape, type });
  return castTo(recorder, x, type);
};

const select: RecordKernel = (recorder, inputs) => {
  const condition = input(inputs, 'condition');
  const t = input(inputs, 't');
  const e = input(inputs, 'e');
  const scalarOr = (x: TensorInfo): TensorInfo | string => {
    const uniform = recorder.uniformValue(x);
    return uniform === undefined ? x : recorder.scalar(uniform, elementType(x.dtype));
  };
  // tf.where broadcasts its operands before it calls the kernel.
  if (!sameShape(condition.shape, t.shape))
    throw internalError('select with a condition of another shape cannot be traced');
  // ONNX Runtime has no Where for booleans.
  if (t.dtype === 'bool') {
    const output = { shape: t.shape, type: 'bool' } as const;
    const chosen = recorder.node('And', [condition, t], output);
    const not = recorder.node('Not', [condition], output);
    return recorder.emit('Or', [chosen, recorder.node('And', [not, e], output)], output);
  }
  return recorder.emit('Where', [condition, scalarOr(t), scalarOr(e)], {
    shape: t.shape,
    type: elementType(t.dtype),
  });
};

const fillLike =
  (value: number): RecordKernel =>
  (recorder, inputs) => {
    const x = input(inputs, 'x');
    const type = elementType(x.dtype);
    return recorder.emit('Expand', [recorder.scalar(value, type), recorder.shape(x.shape)], {
      shape: x.shape,
      type,
    });
  };

const fill: RecordKernel = (recorder, _inputs, attributes) => {
  const shape = attributes['shape'] as number[];
  const type = elementType((attributes['dtype'] as 'float32' | undefined) ?? 'float32');
  return recorder.emit(
    'Expand',
    [recorder.scalar(attributeNumber(attributes, 'value'), type), recorder.shape(shape)],
    { shape, type },
  );
};

export const elementwiseKernels: Readonly<Record<string, RecordKernel>> = {
  Abs: unary('Abs'),
  Ceil: unary('Ceil'),
  Cos: unary('Cos'),
  Erf: unary('Erf'),
  Exp: unary('Exp'),
  Floor: unary('Floor'),
  Identity: unary('Identity'),
  Log: unary('Log'),
  LogicalNot: unary('Not'),
  Neg: unary('Neg'),
  Reciprocal: unary('Reciprocal'),
  Relu: unary('Relu'),
  Sigmoid: unary('Sigmoid'),
  Sign: unary('Sign'),
  Sin: unary('Sin'),
  Softplus: unary('Softplus'),
  Sqrt: unary('Sqrt'),
  Tanh: unary('Tanh'),
  Rsqrt: rsqrt,
  Square: square,
  Add: binary('Add'),
  Sub: binary('Sub'),
  Multiply: binary('Mul'),
  RealDiv: binary('Div'),
  Maximum: binary('Max'),
  Minimum: binary('Min'),
  Pow: binary('Pow'),
  SquaredDifference: squaredDifference,
  AddN: addN,
  Equal: binary('Equal', 'bool'),
  NotEqual: notEqual,
  Greater: binary('Greater', 'bool'),
  GreaterEqual: binary('GreaterOrEqual', 'bool'),
  Less: binary('Less', 'bool'),
  LessEqual: binary('LessOrEqual', 'bool'),
  LogicalAnd: binary('And', 'bool'),
  LogicalOr: binary('Or', 'bool'),
  Step: step,
  ClipByValue: clip,
  Cast: cast,
  Select: select,
  ZerosLike: fillLike(0),
  OnesLike: fillLike(1),
  Fill: fill,
};
