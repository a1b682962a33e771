import type { Tensor } from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { autocast } from '../../src/compiler/autocast.js';
import { choosePrecision } from '../../src/compiler/check-device.js';
import { compile, compileGradient, traceGradient } from '../../src/compiler/compile.js';
import { subgraph } from '../../src/compiler/graph.js';
import { TensorPool } from '../../src/compiler/pool.js';
import { floats, halfTensor } from '../../src/compiler/program.js';
import { chooseRuntime } from '../../src/compiler/runtime.js';
import { UserError } from '../../src/shared/errors.js';
import {
  brainToFloat,
  fedAsHalf,
  floatToBrain,
  floatToHalf,
  halfToFloat,
} from '../../src/models/weights/half.js';
import { testHalves } from '../devices.js';
import { reals } from './kernel-case.js';

const rounders = {
  float16: (values: Float32Array) => halfToFloat(floatToHalf(values)),
  bfloat16: (values: Float32Array) => brainToFloat(floatToBrain(values)),
};

/** a [m, k] b [k, n] in double precision, from and to float32. */
function product(
  a: Float32Array,
  b: Float32Array,
  [m, k, n]: readonly [number, number, number],
): Float32Array {
  const y = new Float32Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += a[i * k + l]! * b[l * n + j]!;
      y[i * n + j] = sum;
    }
  return y;
}

const transposed = (a: Float32Array, rows: number, columns: number): Float32Array =>
  Float32Array.from(a, (_, i) => a[(i % rows) * columns + Math.floor(i / rows)]!);

/** As many numbers of two arrays as are not the same bit for bit. */
const different = (a: Float32Array, b: Float32Array): number => a.filter((value, i) => value !== b[i]).length;

describe('autocast', () => {
  const float = (shape: readonly number[]) => ({ shape, type: 'float32' }) as const;
  const traced = traceGradient(
    ({ x, w }) => x!.matMul(w!, false, true).tanh().matMul(w!),
    { x: float([3, 4]), w: float([5, 4]) },
    { name: 'test', wrt: ['x', 'w'] },
  );
  const graph = subgraph(traced, traced.outputs);
  const typeOf = (made: ReturnType<typeof autocast>, name: string): string | undefined =>
    [...made.inputs, ...made.nodes.map(({ output }) => output)].find((value) => value.name === name)?.type;

  it('casts each operand once and gives all else, and every output, float32', () => {
    const made = autocast(graph, { precision: 'bfloat16', halved: new Set(['w']), emulated: false });
    const products = made.nodes.filter(({ op }) => op.endsWith('MatMul'));
    expect(products).toHaveLength(graph.nodes.filter(({ op }) => op.endsWith('MatMul')).length);
    for (const { inputs, output } of products) {
      expect(output.type).toBe('bfloat16');
      for (const input of inputs) expect(typeOf(made, input)).toBe('bfloat16');
    }
    const rest = made.nodes.filter(({ op }) => !op.endsWith('MatMul') && op !== 'Cast');
    for (const { inputs, output } of rest) {
      expect(output.type).toBe('float32');
      for (const input of inputs) expect(typeOf(made, input) ?? 'float32').toBe('float32');
    }
    const names = made.nodes.map(({ output }) => output.name);
    expect(new Set(names).size).toBe(names.length);
    expect(typeOf(made, 'w')).toBe('float16');
    expect(made.outputs).toEqual(graph.outputs);
    expect(made.nodes.filter(({ op, inputs }) => op === 'Cast' && inputs[0] === 'w')).toHaveLength(1);
  });

  it('reads a weight that is fed as it is multiplied without a cast', () => {
    const made = autocast(graph, { precision: 'float16', halved: new Set(['w']), emulated: false });
    expect(made.nodes.some(({ op, inputs }) => op === 'Cast' && inputs.includes('w'))).toBe(false);
  });
});

describe.each(testHalves)('$precision on $device', ({ device, precision, missing }) => {
  if (missing !== undefined) {
    it.skip(missing, () => undefined);
    return;
  }
  const round = rounders[precision];
  const [m, k, n] = [6, 16, 10];
  const x = reals([m, k], 1);
  const w = reals([n, k], 2);
  const dy = reals([m, n], 3);
  /** Halves that another order of the sum rounds otherwise; WebGPU adds up in float16. */
  const most = device === 'cpu' ? 0.02 : 1;
  const close = (actual: Float32Array, expected: Float32Array): void => {
    expect(different(actual, expected)).toBeLessThanOrEqual(Math.ceil(most * expected.length));
    const step = precision === 'float16' ? 2 ** -8 : 2 ** -7;
    for (const [i, value] of actual.entries())
      expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(step * (1 + Math.abs(expected[i]!)));
    // What is rounded already does not change.
    expect(round(actual)).toEqual(actual);
  };

  it('rounds operands and results of products, forward and backward; fed halves are multiplied as they are', async () => {
    const pool = new TensorPool(device);
    const fn = ({ x, w }: Readonly<Record<string, Tensor>>): Tensor => x!.matMul(w!, false, true);
    const [rx, rw, rdy] = [x, w, dy].map((tensor) => round(floats(tensor))) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const expected = round(product(rx, transposed(rw, n, k), [m, k, n]));
    const fed = halfTensor(fedAsHalf(floats(w), precision)!, [n, k]);
    pool.markConstant(fed);
    const inference = compile((inputs) => ({ y: fn(inputs) }), { name: 'inference', pool, precision });
    for (const weight of [w, fed, fed]) {
      const { y } = await inference.run({ x, w: weight });
      close(floats(y!), expected);
    }
    for (const policy of ['all', 'blockInputs'] as const) {
      const gradient = compileGradient(fn, { name: 'gradient', pool, wrt: ['x', 'w'], policy, precision });
      const { output, saved } = await gradient.forward({ x, w });
      close(floats(output), expected);
      const { x: dx, w: dw } = await gradient.backward({ x, w }, saved, dy);
      close(floats(dx!), round(product(rdy, rw, [m, n, k])));
      close(floats(dw!), round(product(transposed(rdy, m, n), rx, [n, m, k])));
      await gradient.release();
    }
    await inference.release();
    pool.clear();
  });

  it('reads a fed half elsewhere than in products as float32', async () => {
    const pool = new TensorPool(device);
    const sum = compile(({ w }) => ({ y: w!.square().sum(), same: w! }), { name: 'sum', pool, precision });
    const halves = fedAsHalf(floats(w), precision)!;
    const { y, same } = await sum.run({ w: halfTensor(halves, [n, k]) });
    const values = halfToFloat(halves);
    expect(floats(same!)).toEqual(values);
    expect(floats(y!)[0]).toBeCloseTo(
      values.reduce((total, value) => total + value * value, 0),
      3,
    );
    await sum.release();
    pool.clear();
  });
});

describe('fedAsHalf', () => {
  it('gives bfloat16 exactly down to 2^-17, and no number that float16 does not reach', () => {
    const values = Float32Array.from(
      { length: 2000 },
      (_, i) => (1 + Math.abs(Math.sin(i))) * 2 ** ((i % 31) - 17),
    );
    const brain = brainToFloat(floatToBrain(values));
    expect(halfToFloat(fedAsHalf(values, 'bfloat16')!)).toEqual(brain);
    const small = Float32Array.from([1e-6, -3e-7, 2e-8]);
    for (const [i, value] of halfToFloat(fedAsHalf(small, 'bfloat16')!).entries())
      expect(Math.abs(value - small[i]!)).toBeLessThan(3.1e-8);
    expect(fedAsHalf(Float32Array.from([1, 70_000]), 'bfloat16')).toBeUndefined();
    expect(fedAsHalf(Float32Array.from([1, -70_000]), 'float16')).toBeUndefined();
  });
});

describe('choosePrecision', () => {
  it('refuses in one sentence what a device has not, and names what it has', async () => {
    for (const [device, precision, expected] of [
      ['cpu', 'float16', 'float32'],
      ['cpu', 'bfloat16', 'float32'],
      ['tensorflow', 'float16', 'float32'],
      ['webgpu', 'bfloat16', 'float32 or float16'],
    ] as const) {
      const refused = choosePrecision(device, precision);
      await expect(refused).rejects.toThrow(UserError);
      await expect(refused).rejects.toThrow(
        `precision: ${device} has no matrix products in ${precision}: got ${precision}, expected ${expected} (cuda may have float16 and bfloat16, webgpu float16)`,
      );
    }
    await expect(chooseRuntime({ device: 'cpu', computePrecision: 'float16' })).rejects.toThrow(UserError);
    expect(await chooseRuntime({ device: 'cpu', computePrecision: 'float32' })).toEqual({ device: 'cpu' });
  });

  it.each(testHalves.filter(({ device }) => device !== 'cpu'))(
    'tries $precision on $device before it is used',
    async ({ device, precision, missing }) => {
      if (missing === undefined) return choosePrecision(device, precision);
      const refused = choosePrecision(device, precision);
      await expect(refused).rejects.toThrow(UserError);
      await expect(refused).rejects.toThrow(
        `precision: ${device} has no matrix products in ${precision}: got ${missing}, expected float32`,
      );
    },
  );
});
