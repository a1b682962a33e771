import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { compile, compileGradient, traceGradient } from '../../src/compiler/compile.js';
import { recorderBackend } from '../../src/compiler/backend.js';
import { recordKernels } from '../../src/compiler/kernels/index.js';
import { serialize } from '../../src/compiler/serialize.js';
import { trace, type InputSpec, type TensorFunction } from '../../src/compiler/trace.js';
import { expectClose, pool, reals } from './kernel-case.js';

const x: Readonly<Record<string, InputSpec>> = { x: { shape: [2, 3], type: 'float32' } };
const traced = (fn: (x: Tensor) => Tensor, name = 'test function'): ReturnType<typeof trace> =>
  trace((inputs) => ({ y: fn(inputs['x']!) }), x, { name });

beforeAll(() => tf.setBackend('cpu'));

describe('what cannot be traced', () => {
  it('names the kernel and the function', () => {
    expect(() => traced((x) => tf.asinh(x), 'block 7')).toThrow(/Asinh.*while tracing block 7/);
  });

  it('names the kernel where only the gradient needs it', () => {
    const fn = ({ x }: Readonly<Record<string, Tensor>>): Tensor => tf.prod(x!, 1);
    expect(() => traceGradient(fn, x, { name: 'product', wrt: ['x'] })).toThrow(
      /Cumprod.*while tracing product/,
    );
  });

  it('a trace inside a trace', () => {
    expect(() => traced((x) => (traced((y) => y.neg()), x.neg()))).toThrow('traces cannot be nested');
  });

  it('reading values', async () => {
    expect(() => traced((x) => x.mul(x.dataSync()[0]!))).toThrow('not known while tracing');
    expect(() => traced((x) => x.mul((x.arraySync() as number[][])[0]![0]!))).toThrow(
      'not known while tracing',
    );
    let reading: Promise<unknown> = Promise.resolve();
    traced((x) => {
      reading = x.neg().data();
      reading.catch(() => undefined);
      return x.neg();
    });
    await expect(reading).rejects.toThrow("read a tensor's values");
  });

  it('a tensor made outside the function', () => {
    const outside = tf.ones([2, 3]);
    expect(() => traced((x) => x.add(outside))).toThrow('pass it as an input');
    outside.dispose();
  });

  it('names that the graph gives its own values', () => {
    const identity: TensorFunction = ({ x }) => ({ x: x! });
    expect(() => trace(identity, x, { name: 'identity' })).toThrow('the output x has the name');
    const first: InputSpec = { shape: [2], type: 'float32' };
    expect(() => trace(({ v0 }) => ({ y: v0!.neg() }), { v0: first }, { name: 'named' })).toThrow(
      'rename the input',
    );
  });

  it('leaves tfjs as it was after an error', () => {
    const tensors = tf.memory().numTensors;
    expect(() => traced((x) => x.add(1).asinh())).toThrow('Asinh');
    expect(tf.getBackend()).toBe('cpu');
    expect(tf.memory().numTensors).toBe(tensors);
    expect(recorderBackend(recordKernels).numDataIds()).toBe(0);
    expect(traced((x) => x.neg()).nodes.map((node) => node.op)).toEqual(['Neg', 'Identity']);
  });
});

describe('what a trace leaves behind', () => {
  it('no tensors, no values, and the backend that was there', () => {
    const kept = tf.tensor1d([1, 2]);
    const tensors = tf.memory().numTensors;
    // Kernels with inner nodes (Rsqrt, SquaredDifference, a transposed product), constants, gradients.
    const fn = ({ x, w }: Readonly<Record<string, Tensor>>): Tensor =>
      tf.squaredDifference(tf.matMul(x!, w!, false, true).square().add(1).rsqrt(), tf.range(0, 4)).sum(-1);
    const specs: Readonly<Record<string, InputSpec>> = { ...x, w: { shape: [4, 3], type: 'float32' } };
    trace((inputs) => ({ y: fn(inputs) }), specs, { name: 'standard', contrib: false });
    traceGradient(fn, specs, { name: 'gradient', wrt: ['x', 'w'] });
    expect(tf.memory().numTensors).toBe(tensors);
    expect(recorderBackend(recordKernels).numDataIds()).toBe(0);
    expect(tf.getBackend()).toBe('cpu');
    expect([...kept.dataSync()]).toEqual([1, 2]);
    kept.dispose();
  });
});

describe('constants', () => {
  it('with one value everywhere are not stored', () => {
    const specs: Readonly<Record<string, InputSpec>> = { x: { shape: [512, 256], type: 'float32' } };
    const fn = (x: Tensor): Tensor =>
      x
        .mul(tf.ones([512, 256]))
        .add(tf.fill([512, 256], 3))
        .sub(tf.ones([512, 1]))
        .div(tf.zeros([512, 256]).add(2));
    const graph = trace(
      ({ x }) => ({
        y: fn(x!),
        ones: tf.concat([tf.ones([512, 256]), x!]),
        gradient: tf.grad((x) => fn(x).sum())(x!),
      }),
      specs,
      { name: 'constants' },
    );
    expect(serialize(graph).byteLength).toBeLessThan(4096);
  });

  it('reach an output, also twice, and an input does', async () => {
    const values = Float32Array.from({ length: 40 }, (_, i) => Math.sin(i));
    const inputs = { x: reals([40], 3) };
    const fn: TensorFunction = ({ x }) => ({
      stored: tf.tensor1d(values),
      uniform: tf.ones([40]),
      same: x!,
      first: x!.neg(),
      second: tf.clone(x!.neg()),
      notNumbers: tf.fill([40], Number.NaN).add(x!),
    });
    const compiled = compile(fn, { name: 'constants', pool, threads: 1 });
    const outputs = await compiled.run(inputs);
    tf.tidy(() => {
      const x = tf.tensor1d(inputs.x.data as Float32Array);
      expectClose(outputs['stored'], tf.tensor1d(values), 0);
      expectClose(outputs['uniform'], tf.ones([40]), 0);
      expectClose(outputs['same'], x, 0);
      expectClose(outputs['first'], x.neg(), 0);
      expectClose(outputs['second'], x.neg(), 0);
    });
    expect([...(outputs['notNumbers']!.data as Float32Array)].every(Number.isNaN)).toBe(true);
    await compiled.release();
  });
});

describe('gradients', () => {
  it('are zeros where an input has no path to the output, even for infinite inputs', async () => {
    const compiled = compileGradient(({ x }) => x!.square(), {
      name: 'no path',
      pool,
      threads: 1,
      wrt: ['x', 'unused'],
      policy: 'all',
    });
    const inputs = { x: reals([2, 3], 1), unused: reals([4], 2) };
    (inputs.unused.data as Float32Array)[1] = Number.POSITIVE_INFINITY;
    const { saved } = await compiled.forward(inputs);
    const gradients = await compiled.backward(inputs, saved, reals([2, 3], 4));
    expect([...(gradients['unused']!.data as Float32Array)]).toEqual([0, 0, 0, 0]);
    expect((gradients['x']!.data as Float32Array).some((value) => value !== 0)).toBe(true);
    await compiled.release();
  });
});

describe('compile', () => {
  it('compiles again for another type or shape', async () => {
    const compiled = compile(({ x }) => ({ y: x!.mul(x!) }), { name: 'square', pool, threads: 1 });
    const { floatTensor, intTensor } = await import('../../src/compiler/program.js');
    const float = await compiled.run({ x: floatTensor(Float32Array.of(1.5, 2), [2]) });
    const int = await compiled.run({ x: intTensor(Int32Array.of(3, -4), [2]) });
    const square = await compiled.run({ x: floatTensor(Float32Array.of(1, 2, 3, 4), [2, 2]) });
    expect([...(float['y']!.data as Float32Array)]).toEqual([2.25, 4]);
    expect(int['y']!.type).toBe('int32');
    expect([...(int['y']!.data as Int32Array)]).toEqual([9, 16]);
    expect(square['y']!.dims).toEqual([2, 2]);
    await compiled.release();
  });

  it('multiplies batches of which each side repeats another axis', async () => {
    const compiled = compile(
      ({ a, b }) => ({
        plain: tf.matMul(a!, b!),
        left: tf.matMul(tf.transpose(a!, [0, 1, 3, 2]), b!, true),
        both: tf.matMul(tf.transpose(a!, [0, 1, 3, 2]), tf.transpose(b!, [0, 1, 3, 2]), true, true),
      }),
      { name: 'products', pool, threads: 1 },
    );
    const inputs = { a: reals([2, 1, 3, 4], 1), b: reals([1, 3, 4, 5], 2) };
    const outputs = await compiled.run(inputs);
    tf.tidy(() => {
      const a = tf.tensor(inputs.a.data as Float32Array, [2, 1, 3, 4]).tile([1, 3, 1, 1]);
      const b = tf.tensor(inputs.b.data as Float32Array, [1, 3, 4, 5]).tile([2, 1, 1, 1]);
      for (const name of ['plain', 'left', 'both']) expectClose(outputs[name], tf.matMul(a, b));
    });
    await compiled.release();
  });
});
