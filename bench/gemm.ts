import { pathToFileURL } from 'node:url';
import onnxProto from 'onnx-proto';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { randomStream } from '../src/shared/random.js';

/** [rows, inner, columns]: both directions of a feed-forward matrix of SmolLM2-135M on 2,048 tokens, and a square. */
const shapes = [
  [2048, 576, 1536],
  [2048, 1536, 576],
  [2048, 2048, 2048],
] as const;

type Shape = (typeof shapes)[number];

const { onnx } = onnxProto;

const repetitions = 12;

/**
 * The machine's rate of dense float32 matrix products, in floating-point operations per second: the best single run over a few shapes
 * in ONNX Runtime's CPU provider with `threads` threads. The best and not the mean, so that a share of it is never flattered.
 */
export async function gemmRate(threads: number): Promise<number> {
  let best = 0;
  for (const shape of shapes) best = Math.max(best, await rateOf(shape, threads));
  return best;
}

async function rateOf(shape: Shape, threads: number): Promise<number> {
  const [rows, inner, columns] = shape;
  const session = await InferenceSession.create(productModel(shape), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const feeds = { x: randomTensor([rows, inner]), w: randomTensor([inner, columns]) };
  let best = 0;
  for (let i = 0; i < repetitions; i++) {
    const start = performance.now();
    await session.run(feeds);
    const seconds = (performance.now() - start) / 1000;
    best = Math.max(best, (2 * rows * inner * columns) / seconds);
  }
  await session.release();
  return best;
}

function randomTensor(dimensions: readonly [number, number]): Tensor {
  const random = randomStream(1);
  const values = Float32Array.from({ length: dimensions[0] * dimensions[1] }, () => random.uniform() - 0.5);
  return new Tensor('float32', values, dimensions);
}

function productModel([rows, inner, columns]: Shape): Uint8Array {
  const model = onnx.ModelProto.fromObject({
    irVersion: 8,
    opsetImport: [{ domain: '', version: 17 }],
    graph: {
      name: 'product',
      node: [{ opType: 'MatMul', input: ['x', 'w'], output: ['y'] }],
      input: [floatValue('x', [rows, inner]), floatValue('w', [inner, columns])],
      output: [floatValue('y', [rows, columns])],
    },
  });
  return onnx.ModelProto.encode(model).finish();
}

function floatValue(name: string, shape: readonly number[]): object {
  const dim = shape.map((dimValue) => ({ dimValue }));
  return { name, type: { tensorType: { elemType: onnx.TensorProto.DataType.FLOAT, shape: { dim } } } };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const threads = Number(process.argv[2] ?? 2);
  console.log(`${((await gemmRate(threads)) / 1e9).toFixed(0)} GFLOPS with ${threads} threads`);
}
