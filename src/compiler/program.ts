import { createRequire } from 'node:module';
import type * as OnnxRuntime from 'onnxruntime-node';
import { userError } from '../shared/errors.js';
import type { Device } from './device.js';
import type { TracedType, Graph, ValueInfo } from './graph.js';
import { elementCount } from './graph.js';
import { onDevice } from './on-device.js';
import type { TensorPool } from './pool.js';
import { serialize } from './serialize.js';

// CommonJS with a native part: loaded on first use, so that commands without tensors start fast.
let runtime: typeof OnnxRuntime | undefined;
export function onnxRuntime(): typeof OnnxRuntime {
  runtime ??= createRequire(import.meta.url)('onnxruntime-node') as typeof OnnxRuntime;
  return runtime;
}

/** A tensor in the memory of this process, handed to ONNX Runtime without a copy. */
export type HostTensor = OnnxRuntime.Tensor;

export interface RuntimeOptions {
  /** Threads of one session (default: all cores). */
  readonly threads?: number;
  /** Default cpu. */
  readonly device?: Device;
  /**
   * Whether a session holds the memory of its values for its next run (default true): no fresh pages, but each shape that was compiled holds its
   * own. Not worth it where the values are large and the shapes many.
   */
  readonly keepsWorkspace?: boolean;
}

/** @throws UserError where the device is no provider of ONNX Runtime */
export function sessionOptions(options: RuntimeOptions = {}): OnnxRuntime.InferenceSession.SessionOptions {
  const { device = 'cpu' } = options;
  if (device === 'tensorflow')
    throw userError({
      what: 'an ONNX graph does not run on this device',
      where: 'device',
      got: device,
      expected: 'cpu, webgpu or cuda',
      hint: 'open the model that was exported',
    });
  // float32 as it is written, as PyTorch has it by default; matrix products of 10 bits are for those who set the variable to 1.
  if (device === 'cuda') process.env['NVIDIA_TF32_OVERRIDE'] ??= '0';
  return {
    executionProviders: [device],
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    // One block of memory for all values of a run, planned ahead, is larger than the cache; freed pieces that are taken again stay in it: 4 % faster.
    enableMemPattern: false,
    ...(options.keepsWorkspace === false ? { enableCpuMemArena: false } : {}),
    ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
    // Every session has a thread pool of its own. Left spinning, the pools of the other sessions eat the cores: measured 40 % of the speed.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  };
}

export function floatTensor(data: Float32Array, shape: readonly number[]): HostTensor {
  return new (onnxRuntime().Tensor)('float32', data, [...shape]);
}

export function intTensor(data: Int32Array, shape: readonly number[]): HostTensor {
  return new (onnxRuntime().Tensor)('int32', data, [...shape]);
}

/** One byte an element, 0 or 1. */
export function boolTensor(data: Uint8Array, shape: readonly number[]): HostTensor {
  return new (onnxRuntime().Tensor)('bool', data, [...shape]);
}

/** float16 by its bits. */
export function halfTensor(data: Uint16Array, shape: readonly number[]): HostTensor {
  return new (onnxRuntime().Tensor)('float16', data, [...shape]);
}

/** The numbers of a float32 tensor. */
export function floats(tensor: HostTensor): Float32Array {
  return tensor.data as Float32Array;
}

export function emptyTensor(shape: readonly number[], type: TracedType): HostTensor {
  const count = elementCount(shape);
  switch (type) {
    case 'float32':
      return floatTensor(new Float32Array(count), shape);
    case 'int32':
      return intTensor(new Int32Array(count), shape);
    case 'bool':
      return boolTensor(new Uint8Array(count), shape);
    case 'int64':
      return new (onnxRuntime().Tensor)('int64', new BigInt64Array(count), [...shape]);
  }
}

/** Name of the first output of every program; see `Program.run`. */
const DONE = 'done';

/** A graph with static shapes, ready to run. */
export class Program {
  private constructor(
    private readonly session: OnnxRuntime.InferenceSession,
    private readonly place: { readonly pool: TensorPool; readonly device: Device },
    readonly inputs: readonly ValueInfo[],
    readonly outputs: readonly ValueInfo[],
  ) {}

  /** @param options without a device, the program runs on the pool's */
  static async create(
    graph: Graph,
    options: RuntimeOptions & { readonly pool: TensorPool },
  ): Promise<Program> {
    const bytes = serialize(graph, { completion: DONE });
    const { pool, device = pool.device } = options;
    const session = await onnxRuntime().InferenceSession.create(
      bytes,
      sessionOptions({ ...options, device }),
    );
    return new Program(session, { pool, device }, graph.inputs, graph.outputs);
  }

  /** Runs the program; `into` names a preallocated tensor for each output. */
  async run(
    feeds: Readonly<Record<string, HostTensor>>,
    into: Readonly<Record<string, HostTensor>>,
  ): Promise<void> {
    const used: Record<string, HostTensor> = {};
    for (const { name } of this.inputs) {
      const feed = feeds[name];
      if (feed === undefined) throw new Error(`internal: input ${name} was not fed`);
      const placed = onDevice(feed, this.place);
      used[name] = placed instanceof Promise ? await placed : placed;
    }
    try {
      await this.session.run(used, { [DONE]: null, ...into });
    } catch (error) {
      // onnxruntime-node copies every output into fresh memory, even a preallocated one (0.5 ms a megabyte). It converts outputs in
      // order and has no JavaScript form for a sequence: our first output is an empty one, so that it stops before it copies, when
      // all results are already in place. Where a later version converts sequences, the results are in place all the same.
      if (!(error instanceof Error && error.message.includes('Non tensor type'))) throw error;
    }
  }

  async release(): Promise<void> {
    await this.session.release();
  }
}
