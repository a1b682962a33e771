/**
 * Runs a matrix product on a device in a process of its own, which a broken driver may take down, and prints one line of JSON: seconds of the
 * fastest run, or why there was none. Started by src/compiler/check-device.ts as: check.cjs MODULE DEVICE N PRECISION, the ONNX graph on
 * standard input. Matrices of half precision are fed as float16.
 */
const { readFileSync } = require('node:fs');

const [module_, device, size, precision] = process.argv.slice(2);
/** float16's bits of 0.5. */
const HALF = 0x3800;
const n = Number(size);

/** Runs for half a second at most, after one run that does not count. */
async function fastest(run) {
  let best = await timed(run);
  const end = performance.now() + 500;
  while (n > 64 && performance.now() < end) best = Math.min(best, await timed(run));
  return best;
}

async function timed(run) {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}

async function onnxRuntime() {
  const { InferenceSession, Tensor } = require(module_);
  const graph = readFileSync(0);
  const session = await InferenceSession.create(graph, { executionProviders: [device], logSeverityLevel: 4 });
  const matrix = () =>
    precision === 'float32'
      ? new Tensor('float32', new Float32Array(n * n).fill(0.5), [n, n])
      : new Tensor('float16', new Uint16Array(n * n).fill(HALF), [n, n]);
  const feeds = { a: matrix(), b: matrix() };
  const { y } = await session.run(feeds);
  if (y.data[0] !== n / 4) throw new Error(`the product is wrong: ${y.data[0]}, not ${n / 4}`);
  return { seconds: await fastest(() => session.run(feeds)) };
}

async function tensorflow() {
  const tf = require(module_);
  await tf.ready();
  if (tf.getBackend() !== 'tensorflow') throw new Error(`the backend is ${tf.getBackend()}`);
  const matrix = tf.fill([n, n], 0.5);
  const run = () => {
    const y = tf.matMul(matrix, matrix);
    const first = y.dataSync()[0];
    y.dispose();
    return first;
  };
  if (run() !== n / 4) throw new Error(`the product is wrong: ${run()}, not ${n / 4}`);
  const { isUsingGpuDevice = false } = tf.backend();
  return { seconds: await fastest(run), gpu: isUsingGpuDevice };
}

(device === 'tensorflow' ? tensorflow() : onnxRuntime()).then(
  (result) => process.stdout.write(`\n${JSON.stringify(result)}\n`),
  (error) => process.stdout.write(`\n${JSON.stringify({ error: String(error?.message ?? error) })}\n`),
);
