import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs';
import { userError } from '../shared/errors.js';
import { assetPath } from '../shared/package.js';
import type { Device, DeviceChoice } from './device.js';
import { serialize } from './serialize.js';
import { findTensorFlow } from './tensorflow.js';
import { trace } from './trace.js';

/** How a device did in a matrix product, or why it cannot be used. */
export type DeviceCheck =
  | {
      readonly works: true;
      /** float32, inputs and output in the memory of this process. */
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
  /** Main file of TensorFlow.js, where it is not yet where it will be looked for. */
  tensorflow = findTensorFlow(),
): Promise<DeviceCheck> {
  const missing = missingPart(device, tensorflow);
  if (missing !== undefined) return { works: false, reason: missing, hint: hints[device] };
  const module =
    device === 'tensorflow' ? tensorflow : createRequire(import.meta.url).resolve('onnxruntime-node');
  const graph = device === 'tensorflow' ? new Uint8Array(0) : productGraph(size);
  const said = await output([assetPath('devices', 'check.cjs'), String(module), device, String(size)], graph);
  if ('error' in said) return { works: false, reason: shortened(said.error), hint: hints[device] };
  const { seconds, gpu } = said;
  return { works: true, flopsPerSecond: (2 * size ** 3) / seconds, ...(gpu === undefined ? {} : { gpu }) };
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
  const told = /was false\. (.+)$/.exec(sentence)?.[1] ?? sentence;
  return told.length > 200 ? `${told.slice(0, 200)}…` : told;
}
