import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs';
import fc from 'fast-check';
import type { HostTensor } from '../../src/compiler/program.js';
import {
  axisOf,
  booleans,
  integers,
  reals,
  seeds,
  shapes,
  type Instance,
  type KernelCase,
} from './kernel-case.js';

type Values = (shape: readonly number[], seed: number) => HostTensor;

/** A random input of any type, and a draw of a function of it. */
function of(
  draw: (shape: number[]) => fc.Arbitrary<(x: Tensor) => Tensor | Tensor[]>,
  { minRank = 0, maxRank = 5, shortest = 1, values = [reals, integers, booleans] as readonly Values[] } = {},
): KernelCase {
  return fc
    .tuple(shapes(minRank, maxRank, 4, shortest), seeds, fc.constantFrom(...values))
    .chain(([shape, seed, make]) =>
      draw(shape).map((op) => ({ inputs: { x: make(shape, seed) }, fn: ({ x }) => op(x!) })),
    );
}

const perAxis = <T>(shape: readonly number[], draw: (length: number) => fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.tuple(...shape.map(draw));

const size = (shape: readonly number[]): number => shape.reduce((product, length) => product * length, 1);

/** Several tensors of one shape, but for the axis that they are joined along. */
function joined(
  op: (parts: Tensor[], axis: number) => Tensor,
  axes: (rank: number) => fc.Arbitrary<number>,
  minRank: number,
  uneven: boolean,
): KernelCase {
  return fc
    .tuple(
      shapes(minRank, 4),
      seeds,
      fc.constantFrom<Values>(reals, integers, booleans),
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 2, maxLength: 4 }),
    )
    .chain(([shape, seed, make, lengths]) =>
      axes(shape.length).map((axis): Instance => {
        const along = (axis + shape.length) % shape.length;
        const part = (length: number): number[] =>
          shape.map((other, i) => (uneven && i === along ? length : other));
        return {
          inputs: Object.fromEntries(lengths.map((length, i) => [`x${i}`, make(part(length), seed + i)])),
          fn: (inputs) => op(Object.values(inputs), axis),
        };
      }),
    );
}

const gather: KernelCase = fc
  .tuple(shapes(1, 4), shapes(0, 2), seeds, fc.constantFrom<Values>(reals, integers, booleans))
  .chain(([shape, indexShape, seed, make]) =>
    axisOf(shape.length).map((axis) => ({
      inputs: {
        x: make(shape, seed),
        indices: integers(indexShape, seed + 1, 0, shape.at(axis)! - 1),
      },
      fn: ({ x, indices }) => tf.gather(x!, indices as tf.Tensor1D, axis),
    })),
  );

/** Ids repeat; some segments stay empty. */
const segmentSum: KernelCase = fc
  .tuple(shapes(1, 4), seeds, fc.constantFrom<Values>(reals, integers), fc.integer({ min: 1, max: 6 }))
  .map(([shape, seed, make, segments]) => ({
    inputs: { x: make(shape, seed), ids: integers([shape[0]!], seed + 1, 0, segments - 1) },
    // The cpu backend makes float32 of int32 here; other backends do not.
    fn: ({ x, ids }) => tf.unsortedSegmentSum(x!, ids as tf.Tensor1D, segments).cast('float32'),
  }));

/** [2, 3, depth] indices into the first `depth` axes. */
function pointers(shape: readonly number[], depth: number, seed: number): HostTensor {
  const longest = Math.min(...shape.slice(0, depth));
  return integers([2, 3, depth], seed, 0, longest - 1);
}

const gatherNd: KernelCase = fc.tuple(shapes(1, 4), seeds).chain(([shape, seed]) =>
  fc.integer({ min: 1, max: shape.length }).map((depth) => ({
    inputs: { x: reals(shape, seed), indices: pointers(shape, depth, seed) },
    fn: ({ x, indices }) => tf.gatherND(x!, indices!),
  })),
);

const scatterNd: KernelCase = fc.tuple(shapes(1, 3), seeds).chain(([shape, seed]) =>
  fc.integer({ min: 1, max: shape.length }).map((depth) => ({
    inputs: {
      indices: pointers(shape, depth, seed),
      updates: reals([2, 3, ...shape.slice(depth)], seed + 1),
    },
    fn: ({ indices, updates }) => tf.scatterND(indices!, updates!, shape),
  })),
);

/** Indices outside [0, depth) give a row of off values. */
const oneHot: KernelCase = fc
  .tuple(
    shapes(0, 3),
    seeds,
    fc.integer({ min: 2, max: 5 }),
    fc.constantFrom('int32' as const, 'float32' as const),
  )
  .map(([shape, seed, depth, dtype]) => ({
    inputs: { indices: integers(shape, seed, -2, depth) },
    fn: ({ indices }) => [
      tf.oneHot(indices!, depth, 1, 0, dtype),
      tf.oneHot(indices!, depth),
      tf.oneHot(indices!, depth, 2, -3),
    ],
  }));

export const shapeCases: Readonly<Record<string, KernelCase>> = {
  Reshape: of((shape) =>
    fc
      .tuple(
        fc.constantFrom<number[]>([size(shape)], [-1], [1, -1], [size(shape), 1, 1]),
        fc.constant([...shape].reverse()),
      )
      .map(([flat, turned]) => (x) => [tf.reshape(x, flat), tf.reshape(x, turned)]),
  ),
  ExpandDims: of(
    (shape) =>
      fc.integer({ min: -shape.length - 1, max: shape.length }).map((axis) => (x) => tf.expandDims(x, axis)),
    { maxRank: 4 },
  ),
  Transpose: of(
    (shape) =>
      fc
        .shuffledSubarray([...shape.keys()], { minLength: shape.length })
        .map((perm) => (x) => [tf.transpose(x, perm), tf.transpose(x)]),
    { minRank: 2 },
  ),
  Slice: of(
    (shape) =>
      perAxis(shape, (length) =>
        fc
          .nat(length - 1)
          .chain((begin) => fc.tuple(fc.constant(begin), fc.constantFrom(-1, length - begin, 1))),
      ).map(
        (parts) => (x) =>
          tf.slice(
            x,
            parts.map(([begin]) => begin),
            parts.map(([, length]) => length),
          ),
      ),
    { minRank: 1 },
  ),
  // tfjs takes no gradient of a split into one part.
  SplitV: of(
    (shape) =>
      axisOf(shape.length).map((axis) => (x) => {
        const length = shape.at(axis)!;
        return [...tf.split(x, length, axis), ...tf.split(x, [1, length - 1], axis)];
      }),
    { minRank: 1, shortest: 2 },
  ),
  Concat: joined((parts, axis) => tf.concat(parts, axis), axisOf, 1, true),
  // Axes from the end are refused by the gradient of tf.stack.
  Pack: joined(tf.stack, (rank) => fc.nat(rank), 1, false),
  Unpack: of((shape) => fc.nat(shape.length - 1).map((axis) => (x) => tf.unstack(x, axis)), {
    minRank: 1,
    shortest: 2,
  }),
  PadV2: of(
    (shape) =>
      fc
        .tuple(
          perAxis(shape, () => fc.tuple(fc.nat(2), fc.nat(2))),
          fc.constantFrom(0, 1),
        )
        .map(
          ([paddings, value]) =>
            (x) =>
              tf.pad(x, paddings, value),
        ),
    { minRank: 1, maxRank: 4 },
  ),
  Tile: of(
    (shape) => perAxis(shape, () => fc.integer({ min: 1, max: 3 })).map((reps) => (x) => tf.tile(x, reps)),
    {
      minRank: 1,
      maxRank: 4,
    },
  ),
  Reverse: of(
    (shape) =>
      fc
        .subarray([...shape.keys()], { minLength: 1 })
        .map((axes) => (x) => [tf.reverse(x, axes), tf.reverse(x), tf.reverse(x, -1)]),
    { minRank: 1 },
  ),
  Range: fc
    .tuple(
      fc.constantFrom([0, 5, 1], [3, -4, -2], [2, 9, 3], [0, 1, 0.25]),
      fc.constantFrom('float32' as const, 'int32' as const),
    )
    .map(([[start, stop, step], dtype]) => ({
      inputs: { x: reals([], 1) },
      fn: ({ x }) => {
        const values = tf.range(start, stop, step < 1 && step > 0 ? 1 : step, dtype);
        return [values, tf.range(0, 4).mul(x!)];
      },
    })),
  GatherV2: gather,
  UnsortedSegmentSum: segmentSum,
  GatherNd: gatherNd,
  ScatterNd: scatterNd,
  OneHot: oneHot,
};
