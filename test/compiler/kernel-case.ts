import {
  cos,
  engine,
  getGradient,
  memory,
  profile,
  range,
  tensor,
  tidy,
  zerosLike,
  type Tensor,
} from '@tensorflow/tfjs';
import fc from 'fast-check';
import { expect } from 'vitest';
import { compile, type HostTensors } from '../../src/compiler/compile.js';
import { TensorPool } from '../../src/compiler/pool.js';
import { boolTensor, floatTensor, intTensor, type HostTensor } from '../../src/compiler/program.js';
import type { TensorFunction, Tensors } from '../../src/compiler/trace.js';

/** One use of a kernel: a tfjs function and what to call it with. */
export interface Instance {
  readonly inputs: HostTensors;
  readonly fn: (inputs: Tensors) => Tensor | Tensor[];
  /** No gradient is checked: tfjs has none, or takes it with a kernel that cannot be traced. */
  readonly noGradient?: boolean;
}
export type KernelCase = fc.Arbitrary<Instance>;

export const pool = new TensorPool();

/** Small uneven lengths: `shortest` to `longest` on `minRank` to `maxRank` axes. */
export function shapes(minRank = 0, maxRank = 5, longest = 4, shortest = 1): fc.Arbitrary<number[]> {
  return fc.array(fc.integer({ min: shortest, max: longest }), { minLength: minRank, maxLength: maxRank });
}

/** Two shapes that broadcast: axes of length 1, and leading axes missing from one of them. */
export const broadcastShapes: fc.Arbitrary<[number[], number[]]> = shapes(0, 5, 3).chain((shape) =>
  fc
    .tuple(
      fc.array(fc.constantFrom(0, 1, 2), { minLength: shape.length, maxLength: shape.length }),
      fc.nat(shape.length),
      fc.boolean(),
    )
    .map(([ones, missing, swap]) => {
      const left = shape.map((length, axis) => (ones[axis] === 1 ? 1 : length));
      const right = shape.map((length, axis) => (ones[axis] === 2 ? 1 : length)).slice(missing);
      return swap ? [right, left] : [left, right];
    }),
);

export const axisOf = (rank: number): fc.Arbitrary<number> => fc.integer({ min: -rank, max: rank - 1 });

/** Real numbers of [low, high) from a seed: continuous, so without ties. */
export function reals(shape: readonly number[], seed: number, low = -2, high = 2): HostTensor {
  const next = random(seed);
  return floatTensor(
    Float32Array.from({ length: count(shape) }, () => low + (high - low) * next()),
    shape,
  );
}

/** Whole numbers of [low, high], many of them equal. */
export function integers(shape: readonly number[], seed: number, low = -2, high = 2): HostTensor {
  const next = random(seed);
  return intTensor(
    Int32Array.from({ length: count(shape) }, () => low + Math.floor((high - low + 1) * next())),
    shape,
  );
}

export function tied(shape: readonly number[], seed: number): HostTensor {
  return floatTensor(Float32Array.from(integers(shape, seed).data as Int32Array), shape);
}

export function booleans(shape: readonly number[], seed: number): HostTensor {
  return boolTensor(Uint8Array.from(integers(shape, seed, 0, 1).data as Int32Array), shape);
}

export const seeds = fc.nat(1e6);

function count(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

function random(seed: number): () => number {
  let state = seed + 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The instance's outputs, and the gradients of a weighted sum of them by its float inputs. */
function withGradients(instance: Instance, kernel: string): TensorFunction {
  return (inputs) => {
    const results: Record<string, Tensor> = {};
    [instance.fn(inputs)].flat().forEach((output, index) => (results[`output:${index}`] = output));
    const by = Object.entries(inputs).filter(([, input]) => input.dtype === 'float32');
    const gradient: unknown = getGradient(kernel);
    if (instance.noGradient === true || gradient === undefined || by.length === 0) return results;
    const weighted = (): Tensor =>
      [instance.fn(inputs)]
        .flat()
        .map((output, index) => {
          const weights = cos(range(index, index + count(output.shape))).reshape(output.shape);
          return output.cast('float32').mul(weights).sum();
        })
        .reduce((sum, term) => sum.add(term));
    const { grads } = engine().gradients(
      weighted,
      by.map(([, input]) => input),
      undefined,
      true,
    );
    by.forEach(([name, input], index) => (results[`gradient:${name}`] = grads[index] ?? zerosLike(input)));
    return results;
  };
}

/** Eager tensors of the cpu backend with the values of host tensors. */
export function eager(inputs: HostTensors): Tensors {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, input]) => [
      name,
      tensor(input.data as Float32Array, [...input.dims], input.type as 'float32'),
    ]),
  );
}

export function expectClose(actual: HostTensor | undefined, expected: Tensor, tolerance = 1e-4): void {
  expect(actual?.dims).toEqual(expected.shape);
  expect(actual?.type).toBe(expected.dtype);
  const got = actual?.data as Float32Array;
  const wanted = expected.dataSync();
  for (let i = 0; i < wanted.length; i++) {
    const difference = Math.abs((got[i] as number) - (wanted[i] as number));
    const bound = tolerance * Math.max(1, Math.abs(wanted[i] as number));
    if (!(difference <= bound)) throw new Error(`value ${i}: ${String(got[i])}, eager ${String(wanted[i])}`);
  }
}

/** Runs the function eagerly and traced; both must give the same shapes, types and values. */
export async function expectSame(fn: TensorFunction, inputs: HostTensors, name: string): Promise<void> {
  const compiled = compile(fn, { name, pool, threads: 1 });
  try {
    const traced = await compiled.run(inputs);
    tidy(() => {
      const expected = fn(eager(inputs));
      expect(Object.keys(traced)).toEqual(Object.keys(expected));
      for (const [key, value] of Object.entries(expected)) expectClose(traced[key], value);
    });
    pool.release(...Object.values(traced));
  } finally {
    await compiled.release();
  }
}

/** Checks one instance, and that tfjs really uses the kernel that the case is about. */
export async function checkCase(kernel: string, instance: Instance): Promise<void> {
  const fn = withGradients(instance, kernel);
  const before = memory().numTensors;
  await expectSame(fn, instance.inputs, kernel);
  expect(memory().numTensors).toBe(before);
  // Eager tfjs has no kernel of ours.
  if (kernel.startsWith('Lmvec')) return;
  // The profiler awaits, and a scope cannot: what it makes is disposed of by hand.
  const { kernelNames } = await profile(() => tidy(() => void instance.fn(eager(instance.inputs))));
  expect(kernelNames).toContain(kernel);
}
