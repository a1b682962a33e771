import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs';
import fc from 'fast-check';
import type { HostTensor } from '../../src/compiler/program.js';
import {
  booleans,
  broadcastShapes,
  integers,
  reals,
  seeds,
  shapes,
  tied,
  type Instance,
  type KernelCase,
} from './kernel-case.js';

type Values = (shape: readonly number[], seed: number) => HostTensor;
const within =
  (low: number, high: number): Values =>
  (shape, seed) =>
    reals(shape, seed, low, high);
const away: Values = within(0.3, 3);

function unary(op: (x: Tensor) => Tensor, ...values: readonly Values[]): KernelCase {
  return fc.tuple(shapes(), seeds, fc.constantFrom(...values)).map(([shape, seed, make]) => ({
    inputs: { x: make(shape, seed) },
    fn: ({ x }) => op(x!),
  }));
}

interface BinaryOptions {
  readonly values: readonly Values[];
  /** tfjs 4.22 forgets to sum this kernel's gradient over the axes that were broadcast. */
  readonly gradientsBroadcast?: boolean;
}

function binary(
  op: (a: Tensor, b: Tensor) => Tensor,
  { values, gradientsBroadcast = true }: BinaryOptions,
): KernelCase {
  return fc
    .tuple(broadcastShapes, seeds, fc.constantFrom(...values))
    .map(([[left, right], seed, make]): Instance => ({
      inputs: { a: make(left, seed), b: make(right, seed + 1) },
      fn: ({ a, b }) => op(a!, b!),
      noGradient: !gradientsBroadcast && left.join() !== right.join(),
    }));
}

/** Also with an operand that is a constant with one value everywhere: these are recorded in another way. */
function arithmetic(op: (a: Tensor, b: Tensor) => Tensor, options: BinaryOptions): KernelCase {
  const withConstant = fc
    .tuple(broadcastShapes, seeds, fc.constantFrom(0, 1, 2), fc.boolean())
    .map(([[left, right], seed, value, swap]): Instance => ({
      inputs: { a: away(left, seed) },
      fn: ({ a }) => {
        const constant = tf.tensor(new Float32Array(right.reduce((x, y) => x * y, 1)).fill(value), right);
        return swap
          ? [op(constant.add(1), a!), op(constant, a!)]
          : [op(a!, constant.add(1)), op(a!, constant)];
      },
      noGradient: options.gradientsBroadcast === false && left.join() !== right.join(),
    }));
  return fc.oneof(binary(op, options), withConstant);
}

const any = within(-2, 2);
const whole: Values = (shape, seed) => integers(shape, seed, -3, 3);

export const elementwiseCases: Readonly<Record<string, KernelCase>> = {
  Abs: unary(tf.abs, any, whole),
  Ceil: unary(tf.ceil, any),
  Cos: unary(tf.cos, any),
  Erf: unary(tf.erf, any),
  Exp: unary(tf.exp, any),
  Floor: unary(tf.floor, any),
  Identity: unary(tf.clone, any, whole, booleans),
  Log: unary(tf.log, away),
  LogicalNot: unary(tf.logicalNot, booleans),
  Neg: unary(tf.neg, any, whole),
  Reciprocal: unary(tf.reciprocal, away),
  Relu: unary(tf.relu, any, whole),
  Sigmoid: unary(tf.sigmoid, any),
  Sign: unary(tf.sign, any, tied),
  Sin: unary(tf.sin, any),
  Softplus: unary(tf.softplus, any),
  Sqrt: unary(tf.sqrt, away),
  Tanh: unary(tf.tanh, any),
  Rsqrt: unary(tf.rsqrt, away),
  Square: unary(tf.square, any, whole),
  Add: arithmetic(tf.add, { values: [any, whole] }),
  Sub: arithmetic(tf.sub, { values: [any, whole] }),
  Multiply: arithmetic(tf.mul, { values: [any, whole] }),
  RealDiv: binary(tf.div, { values: [away] }),
  Maximum: arithmetic(tf.maximum, { values: [any, whole], gradientsBroadcast: false }),
  Minimum: arithmetic(tf.minimum, { values: [any, whole], gradientsBroadcast: false }),
  Pow: arithmetic(tf.pow, { values: [away] }),
  SquaredDifference: arithmetic(tf.squaredDifference, { values: [any, whole], gradientsBroadcast: false }),
  AddN: fc.tuple(shapes(), seeds, fc.integer({ min: 2, max: 4 })).map(([shape, seed, terms]) => ({
    inputs: Object.fromEntries(
      Array.from({ length: terms }, (_, index) => [`x${index}`, reals(shape, seed + index)]),
    ),
    fn: (inputs) => tf.addN(Object.values(inputs)),
  })),
  Equal: binary(tf.equal, { values: [tied, whole, booleans] }),
  NotEqual: binary(tf.notEqual, { values: [tied, whole, booleans] }),
  Greater: binary(tf.greater, { values: [tied, whole] }),
  GreaterEqual: binary(tf.greaterEqual, { values: [tied, whole] }),
  Less: binary(tf.less, { values: [tied, whole] }),
  LessEqual: binary(tf.lessEqual, { values: [tied, whole] }),
  LogicalAnd: binary(tf.logicalAnd, { values: [booleans] }),
  LogicalOr: binary(tf.logicalOr, { values: [booleans] }),
  Step: fc.oneof(
    unary((x) => tf.step(x), any, tied),
    unary((x) => tf.step(x, 0.25), tied),
  ),
  ClipByValue: unary((x) => tf.clipByValue(x, -1, 1.5), any),
  Cast: fc
    .tuple(
      shapes(),
      seeds,
      fc.constantFrom<Values>(any, tied, whole, booleans),
      fc.constantFrom('float32' as const, 'int32' as const, 'bool' as const),
    )
    .map(([shape, seed, make, to]) => ({
      inputs: { x: make(shape, seed) },
      // A cast to its own type runs no kernel in eager tfjs.
      fn: ({ x }) => [tf.cast(x!, to), tf.cast(tf.cast(x!, 'float32'), 'int32'), tf.cast(x!, 'float32')],
    })),
  Select: fc
    .tuple(broadcastShapes, seeds, fc.constantFrom<Values>(any, whole, booleans), fc.nat(1))
    .map(([[left, right], seed, make, kind]): Instance => {
      const inputs = { condition: booleans(left, seed), a: make(right, seed + 1), b: make(left, seed + 2) };
      if (kind === 0) {
        // tf.where broadcasts with tf.tile, whose gradient tfjs has up to rank 4.
        const noGradient = left.join() !== right.join() && Math.max(left.length, right.length) > 4;
        return { inputs, fn: ({ condition, a, b }) => tf.where(condition!, a!, b!), noGradient };
      }
      return {
        inputs: { condition: inputs.condition, a: any(left, seed) },
        fn: ({ condition, a }) => [
          tf.where(condition!, tf.zerosLike(a!), a!),
          tf.where(condition!, a!, tf.fill(left, -1)),
          tf.where(condition!, tf.ones(left), tf.zeros(left)),
        ],
      };
    }),
  ZerosLike: unary(tf.zerosLike, any, whole, booleans),
  OnesLike: unary(tf.onesLike, any, whole),
  Fill: fc.tuple(shapes(), seeds).map(([shape, seed]) => ({
    inputs: { x: reals(shape, seed) },
    fn: ({ x }) => [tf.fill(shape, 2.5).mul(x!), tf.fill(shape, 3, 'int32')],
  })),
};
