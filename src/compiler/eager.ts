import { engine, keep, tensor, type Tensor } from '@tensorflow/tfjs';
import { internalError } from '../shared/errors.js';
import type {
  CompileOptions,
  CompiledFunction,
  CompiledGradient,
  ForwardResult,
  GradientOptions,
  HostTensors,
} from './compile.js';
import type { TensorPool } from './pool.js';
import type { HostTensor } from './program.js';
import { elementType } from './recorder.js';
import { useTensorFlow } from './tensorflow.js';
import type { TensorFunction, Tensors } from './trace.js';

/** A pure function as tfjs runs it, kernel by kernel, in TensorFlow. */
export class EagerFunction implements CompiledFunction {
  constructor(
    private readonly fn: TensorFunction,
    private readonly options: CompileOptions,
  ) {}

  run(inputs: HostTensors): Promise<Record<string, HostTensor>> {
    return inScope(this.options, inputs, (tensors) => this.fn(tensors));
  }

  release(): Promise<void> {
    return Promise.resolve();
  }
}

/** A function and its vector-Jacobian product; nothing is saved between the two: the backward pass begins with a forward pass. */
export class EagerGradient implements CompiledGradient {
  constructor(
    private readonly fn: (inputs: Tensors) => Tensor,
    private readonly options: GradientOptions,
  ) {}

  async forward(inputs: HostTensors): Promise<ForwardResult> {
    const { output } = await inScope(this.options, inputs, (tensors) => ({ output: this.fn(tensors) }));
    if (output === undefined) throw internalError('no output');
    return { output, saved: {} };
  }

  backward(
    inputs: HostTensors,
    _saved: HostTensors,
    outputGradient: HostTensor,
  ): Promise<Record<string, HostTensor>> {
    return inScope(this.options, { ...inputs, outputGradient }, ({ outputGradient: dy, ...tensors }) => {
      const by = this.options.wrt.map((name) => tensors[name] as Tensor);
      const { grads } = engine().gradients(() => this.fn(tensors), by, dy, true);
      return Object.fromEntries(
        this.options.wrt.map((name, index) => [name, grads[index] ?? (by[index] as Tensor).zerosLike()]),
      );
    });
  }

  release(): Promise<void> {
    return Promise.resolve();
  }
}

/** Runs `fn` over copies of the inputs on the device, frees everything, and gives its outputs in memory of the pool. */
async function inScope(
  { name, pool }: CompileOptions,
  inputs: HostTensors,
  fn: (tensors: Tensors) => Tensors,
): Promise<Record<string, HostTensor>> {
  useTensorFlow();
  const tf = engine();
  tf.startScope(name);
  try {
    const tensors: Record<string, Tensor> = {};
    for (const [key, host] of Object.entries(inputs)) tensors[key] = onDevice(host, pool);
    const into: Record<string, HostTensor> = {};
    for (const [key, output] of Object.entries(fn(tensors))) {
      const host = pool.acquire(output.shape, elementType(output.dtype));
      (host.data as Float32Array).set(output.dataSync());
      into[key] = host;
    }
    return await Promise.resolve(into);
  } finally {
    tf.endScope();
  }
}

/** What never changes is copied to the device once. */
function onDevice(host: HostTensor, pool: TensorPool): Tensor {
  const copy = pool.copyOnDevice(
    host,
    () => keep(copied(host)),
    (tensor) => tensor.dispose(),
  );
  return copy ?? copied(host);
}

function copied({ data, dims, type }: HostTensor): Tensor {
  return tensor(data as Float32Array, [...dims], type as 'float32' | 'int32' | 'bool');
}
