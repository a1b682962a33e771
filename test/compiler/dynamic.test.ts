import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { HostTensors } from '../../src/compiler/compile.js';
import { factorDimension } from '../../src/compiler/dimensions.js';
import type { Graph } from '../../src/compiler/graph.js';
import { onnxRuntime, sessionOptions } from '../../src/compiler/program.js';
import { serialize } from '../../src/compiler/serialize.js';
import { dynamicAxes, trace, type TensorFunction } from '../../src/compiler/trace.js';
import { eager, expectClose, integers, reals } from './kernel-case.js';

const HEADS = 32;
const SIZE = 4;
const WIDTH = HEADS * SIZE;

const axes = dynamicAxes([
  { name: 'batch', input: 'x', axis: 0 },
  { name: 'sequence', input: 'x', axis: 1 },
]);
const [BATCH, SEQUENCE] = axes.map(({ prime }) => prime) as [number, number];
const dimensionNames = new Map(axes.map(({ prime, name }) => [prime, name]));

function traceDynamic(fn: (x: Tensor, mask: Tensor) => Record<string, Tensor>): Graph {
  return trace(
    ({ x, mask }) => fn(x!, mask!),
    {
      x: { shape: [BATCH, SEQUENCE, WIDTH], type: 'float32' },
      mask: { shape: [BATCH, SEQUENCE], type: 'int32' },
    },
    { name: 'dynamic', contrib: false, dynamicAxes: axes },
  );
}

function feeds(batch: number, sequence: number): HostTensors {
  return { x: reals([batch, sequence, WIDTH], batch), mask: integers([batch, sequence], sequence, 0, 1) };
}

/** Grouped heads, half-turned slices, positions from a running sum, a mask, pooling: what an embedder is made of. */
function attend(x: Tensor, mask: Tensor): Record<string, Tensor> {
  const [batch, sequence] = x.shape as [number, number];
  const positions = tf.cumsum(mask, 1, true).cast('float32');
  const angles = positions.reshape([batch, sequence, 1, 1]).mul(tf.tensor1d([0.1, 0.01]));
  const heads = x.reshape([batch, sequence, HEADS, SIZE]);
  const low = heads.slice([0, 0, 0, 0], [-1, -1, -1, SIZE / 2]);
  const high = heads.slice([0, 0, 0, SIZE / 2], [-1, -1, -1, -1]);
  const turned = tf.concat(
    [low.mul(angles.cos()).sub(high.mul(angles.sin())), high.mul(angles.cos()).add(low.mul(angles.sin()))],
    -1,
  );
  const query = tf.transpose(turned, [0, 2, 1, 3]).reshape([batch, HEADS / 2, 2 * sequence, SIZE]);
  const key = tf
    .transpose(turned, [0, 2, 1, 3])
    .reshape([batch, HEADS / 2, 2, sequence, SIZE])
    .mean(2);
  const blocked = tf.where(
    mask.reshape([batch, 1, 1, sequence]).equal(0),
    tf.fill([batch, 1, 1, sequence], -1e9),
    tf.zerosLike(mask.reshape([batch, 1, 1, sequence]).cast('float32')),
  );
  const scores = tf.matMul(query, key, false, true).reshape([batch, HEADS, sequence, sequence]).add(blocked);
  const weights = tf.softmax(scores).reshape([batch, HEADS / 2, 2 * sequence, sequence]);
  const context = tf.matMul(weights, key).reshape([batch, HEADS, sequence, SIZE]);
  const hidden = tf.transpose(context, [0, 2, 1, 3]).reshape([batch, sequence, WIDTH]);
  const doubled = tf.concat([hidden, hidden.neg()], 1);
  const places = tf.range(0, sequence, 1, 'int32').reshape([1, sequence]);
  return {
    hidden,
    pooled: hidden.mul(mask.cast('float32').expandDims(-1)).sum(1),
    flat: hidden
      .reshape([batch * sequence, WIDTH])
      .matMul(tf.ones([WIDTH, 1]))
      .reshape([batch, -1]),
    second: doubled.slice([0, sequence, 0], [batch, sequence, 3]),
    first: hidden.slice([0, 0, 0], [-1, 1, -1]).squeeze([1]),
    tiled: mask.tile([1, 3]),
    last: tf.argMax(places.mul(mask), 1),
    share: mask.cast('float32').sum(1).div(tf.scalar(sequence)),
    padded: mask.pad([
      [0, 0],
      [0, sequence],
    ]),
  };
}

const SIZES: readonly (readonly [number, number])[] = [
  [1, 1],
  [1, 7],
  [3, 5],
  [4, 16],
  [2, 33],
];

beforeAll(() => tf.setBackend('cpu'));

describe('a graph with dynamic axes', () => {
  it('gives what eager tfjs gives at every batch and sequence length', async () => {
    const graph = traceDynamic(attend);
    const session = await onnxRuntime().InferenceSession.create(
      serialize(graph, { dimensionNames }),
      sessionOptions({ threads: 1 }),
    );
    for (const [batch, sequence] of SIZES) {
      const given = feeds(batch, sequence);
      const outputs = await session.run(given);
      tf.tidy(() => {
        const tensors = eager(given);
        const expected = attend(tensors['x']!, tensors['mask']!);
        expect(Object.keys(outputs).sort()).toEqual(Object.keys(expected).sort());
        for (const [name, value] of Object.entries(expected)) expectClose(outputs[name], value);
      });
    }
    await session.release();
  });

  it('names its axes and uses standard operators only', async () => {
    const bytes = serialize(traceDynamic(attend), { dimensionNames });
    const { default: proto } = await import('onnx-proto');
    const model = proto.onnx.ModelProto.decode(bytes);
    expect(model.opsetImport.map(({ domain }) => domain)).toEqual(['']);
    expect(new Set(model.graph!.node!.map(({ domain }) => domain))).toEqual(new Set(['']));
    const dims = model.graph!.input![0]!.type!.tensorType!.shape!.dim!;
    expect(dims.map(({ dimParam, dimValue }) => dimParam || Number(dimValue))).toEqual([
      'batch',
      'sequence',
      WIDTH,
    ]);
    // No prime is left in a shape or a slice.
    const primes = new Set<number>([BATCH, SEQUENCE, 2 * SEQUENCE, BATCH * SEQUENCE]);
    for (const { name, dataType, rawData } of model.graph!.initializer!) {
      if (dataType !== proto.onnx.TensorProto.DataType.INT64) continue;
      const values = new BigInt64Array(Uint8Array.from(rawData!).buffer);
      for (const value of values) expect(primes, name!).not.toContain(Number(value));
    }
  });

  it.each<[string, (x: Tensor) => Tensor]>([
    ['all tokens but the first', (x) => x.slice([0, 1, 0])],
    ['the last token', (x) => x.slice([0, SEQUENCE - 1, 0], [-1, 1, -1])],
    ['a token more', (x) => tf.concat([x, x.slice([0, 0, 0], [-1, 1, -1])], 1)],
    [
      'a blank token before',
      (x) =>
        x.pad([
          [0, 0],
          [1, 0],
          [0, 0],
        ]),
    ],
  ])('refuses %s', (_, fn) => {
    expect(() => traceDynamic((x) => ({ y: fn(x) }))).toThrow('a dynamic axis plus or minus a constant');
  });
});

describe('dynamicAxes', () => {
  it('avoids primes that divide a length of the model', () => {
    const [axis] = dynamicAxes([{ name: 'batch', input: 'x', axis: 0 }], [3 * BATCH]);
    expect(axis!.prime).not.toBe(BATCH);
    const many = Array.from({ length: 20 }, (_, i) => ({ name: `axis ${i}`, input: 'x', axis: i }));
    expect(() => dynamicAxes(many)).toThrow('no prime is left');
  });

  it('factors lengths', () => {
    const { constant, axes: found } = factorDimension(6 * BATCH * SEQUENCE * SEQUENCE, axes);
    expect(constant).toBe(6);
    expect(found.map(({ name }) => name)).toEqual(['batch', 'sequence', 'sequence']);
    expect(factorDimension(49152, axes)).toEqual({ constant: 49152, axes: [] });
    expect(factorDimension(0, axes).constant).toBe(0);
  });
});

const twice: TensorFunction = ({ x }) => ({ y: x!.mul(2) });
describe('serialize', () => {
  it('leaves stored inputs out', async () => {
    const { default: proto } = await import('onnx-proto');
    const graph = trace(twice, { x: { shape: [2], type: 'float32' } }, { name: 'twice' });
    const model = proto.onnx.ModelProto.decode(
      serialize(graph, { stored: new Set(['x']), metadata: { a: 'b' } }),
    );
    expect(model.graph!.input).toEqual([]);
    expect(model.metadataProps.map(({ key, value }) => [key, value])).toEqual([['a', 'b']]);
  });
});
