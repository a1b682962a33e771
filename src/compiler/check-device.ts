import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs';
import { userError } from '../shared/errors.js';
import { assetPath } from '../shared/package.js';
import { autocast } from './autocast.js';
import type { Device, DeviceChoice } from './device.js';
import { precisionsOf, type ComputePrecision, type HalfPrecision } from './precision.js';
import { serialize } from './serialize.js';
import { findTensorFlow } from './tensorflow.js';
import { trace } from './trace.js';

/** How a device did in a matrix product, or why it cannot be used. */
export type DeviceCheck =
  | {
      readonly works: true;
      /** Of products in the precision that was asked for, inputs and output in the memory of this process. */
      readonly flopsPerSecond: number;
      /** TensorFlow only: whether it sees a GPU. */
      readonly gpu?: boolean;
    }
  | {
      readonly works: false;
      readonly reason: string;
      /** What to do about it. */
      readonly hint: string;
    };

const LONGEST = 60_000;
const SMALL = 8;

/** Multiplies two matrices of `size` on a device, in a process of its own: a driver may print, hang or crash. */
export async function checkDevice(
  device: Device,
  size = SMALL,
  {
    tensorflow = findTensorFlow(),
    precision = 'float32',
  }: {
    /** Main file of TensorFlow.js, where it is not yet where it will be looked for. */
    readonly tensorflow?: string | undefined;
    readonly precision?: ComputePrecision;
  } = {},
): Promise<DeviceCheck> {
  const missing = missingPart(device, tensorflow);
  if (missing !== undefined) return { works: false, reason: missing, hint: hints[device] };
  const module =
    device === 'tensorflow' ? tensorflow : createRequire(import.meta.url).resolve('onnxruntime-node');
  const products = precision === 'float32' ? 1 : 2;
  const graph =
    device === 'tensorflow'
      ? new Uint8Array(0)
      : precision === 'float32'
        ? productGraph(size)
        : halfProductsGraph(size, precision);
  const words = [assetPath('devices', 'check.cjs'), String(module), device, String(size), precision];
  const said = await output(words, graph);
  if ('error' in said) return { works: false, reason: shortened(said.error), hint: hints[device] };
  const { seconds, gpu } = said;
  return {
    works: true,
    flopsPerSecond: (products * 2 * size ** 3) / seconds,
    ...(gpu === undefined ? {} : { gpu }),
  };
}

const hints: Readonly<Record<Device, string>> = {
  cpu: 'install lmvec again: npm ci',
  webgpu:
    'install a Vulkan driver for your GPU, and its loader: apt-get install libvulkan1 mesa-vulkan-drivers',
  cuda: 'install it: lmvec setup cuda; CUDA 13 and cuDNN 9 must be where the loader finds them, such as in LD_LIBRARY_PATH',
  tensorflow: 'install it: lmvec setup tensorflow',
};

/** What is known to be missing without trying. */
function missingPart(device: Device, tensorflow?: string): string | undefined {
  if (device === 'cuda' && !existsSync(cudaProvider()))
    return "ONNX Runtime's CUDA provider is not installed";
  if (device === 'tensorflow' && tensorflow === undefined) return 'TensorFlow is not installed';
  return undefined;
}

/** The folder of ONNX Runtime's own library, where it looks for its providers. */
export function onnxRuntimeFolder(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  return join(dirname(main), '..', 'bin', 'napi-v6', process.platform, process.arch);
}

function cudaProvider(): string {
  return join(onnxRuntimeFolder(), 'libonnxruntime_providers_cuda.so');
}

const known = new Map<Device, Promise<DeviceCheck>>();

/**
 * The device that runs what a user asked for.
 * @throws UserError where it is missing, with the command that installs it
 */
export async function chooseDevice(choice: DeviceChoice = 'auto'): Promise<Device> {
  if (choice === 'cpu' || (choice === 'auto' && missingPart('cuda') !== undefined)) return 'cpu';
  const device = choice === 'auto' ? 'cuda' : choice;
  let check = known.get(device);
  if (check === undefined) {
    check = checkDevice(device);
    known.set(device, check);
  }
  const result = await check;
  if (result.works) return device;
  if (choice === 'auto') return 'cpu';
  const { reason: got, hint } = result;
  throw userError({ what: `this machine has no ${device} that works`, where: 'device', got, hint });
}

const knownPrecisions = new Map<string, Promise<DeviceCheck>>();

/** @throws UserError where a device has no products of a precision, with what it has */
export async function choosePrecision(
  device: Device,
  precision: ComputePrecision = 'float32',
): Promise<void> {
  if (precision === 'float32') return;
  const refused = (got: string, expected: readonly ComputePrecision[]): Error =>
    userError({
      what: `${device} has no matrix products in ${precision}`,
      where: 'precision',
      got,
      expected: expected.join(' or '),
      hint: 'cuda may have float16 and bfloat16, webgpu float16',
    });
  if (!precisionsOf[device].includes(precision)) throw refused(precision, precisionsOf[device]);
  const key = `${device} ${precision}`;
  const check = knownPrecisions.get(key) ?? checkDevice(device, SMALL, { precision });
  knownPrecisions.set(key, check);
  const result = await check;
  if (!result.works)
    throw refused(
      result.reason,
      precisionsOf[device].filter((other) => other !== precision),
    );
}

/** The mean of a b and a b^T, the two kinds of products that blocks have; a and b are fed as float16, as weights are. */
function halfProductsGraph(size: number, precision: HalfPrecision): Uint8Array {
  const matrix = { shape: [size, size], type: 'float32' } as const;
  const graph = trace(
    (inputs) => {
      const { a, b } = inputs as { a: Tensor; b: Tensor };
      return {
        y: a
          .matMul(b)
          .add(a.matMul(b, false, true))
          .mul(0.5),
      };
    },
    { a: matrix, b: matrix },
    { name: 'products' },
  );
  return serialize(autocast(graph, { precision, halved: new Set(['a', 'b']), emulated: false }));
}

function productGraph(size: number): Uint8Array {
  const matrix = { shape: [size, size], type: 'float32' } as const;
  return serialize(
    trace(
      (inputs) => {
        const { a, b } = inputs as { a: Tensor; b: Tensor };
        return { y: a.matMul(b) };
      },
      { a: matrix, b: matrix },
      { name: 'product' },
    ),
  );
}

type Said = { readonly seconds: number; readonly gpu?: boolean } | { readonly error: string };

/** What a script of ours says in its last line. */
async function output(words: readonly string[], input: Uint8Array): Promise<Said> {
  const child = spawn(process.execPath, words, {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: LONGEST,
    killSignal: 'SIGKILL',
  });
  let text = '';
  let complaints = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (text += part));
  child.stderr.setEncoding('utf8').on('data', (part: string) => (complaints += part));
  // A process that is gone before it has read is told by its exit.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const ended = await new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  const line = text.trimEnd().split('\n').at(-1) ?? '';
  try {
    return JSON.parse(line) as Said;
  } catch {
    return { error: `the process that tried it ended with ${ended}: ${complaints.trim() || 'no word'}` };
  }
}

/** The sentence at the end of a native library's message, without the source lines before it. */
function shortened(error: string): string {
  const sentence =
    error
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .at(-1) ?? '';
  const told = (
    /was false\. (.+)$/.exec(sentence)?.[1] ??
    /Status Message: (?:\S+:\d+ \w+ )?(.+)$/.exec(sentence)?.[1] ??
    sentence
  ).replace(/\.$/, '');
  return told.length > 200 ? `${told.slice(0, 200)}…` : told;
}
