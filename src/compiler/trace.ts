import { backend, engine, getBackend, type Tensor } from '@tensorflow/tfjs';
import { internalError } from '../shared/errors.js';
import { RECORDER_BACKEND, recorderBackend } from './backend.js';
import { AXIS_PRIMES, type DynamicAxis } from './dimensions.js';
import type { Graph } from './graph.js';
import { recordKernels } from './kernels/index.js';
import { Recorder } from './recorder.js';

export type Tensors = Readonly<Record<string, Tensor>>;
/** A pure function over tfjs tensors: the same code runs eagerly, compiled and exported. */
export type TensorFunction = (inputs: Tensors) => Tensors;

export interface InputSpec {
  readonly shape: readonly number[];
  /** `int64` is for exported graphs only: tfjs has no such type, so the function sees int32. */
  readonly type: 'float32' | 'int32' | 'bool' | 'int64';
}

export interface TraceOptions {
  /** Named in errors. */
  readonly name: string;
  /** Contrib operators of ONNX Runtime allowed (default true). */
  readonly contrib?: boolean;
  readonly dynamicAxes?: readonly DynamicAxis[];
}

/**
 * Runs `fn` once over tensors that record what happens to them, and gives the ONNX graph of it.
 * tfjs gradients taken inside `fn` are recorded like everything else.
 *
 * @throws an internal error naming the kernel and `name` where `fn` uses a tfjs kernel that cannot be traced.
 */
export function trace(
  fn: TensorFunction,
  inputs: Readonly<Record<string, InputSpec>>,
  options: TraceOptions,
): Graph {
  const values = recorderBackend(recordKernels);
  const tf = engine();
  const previous = activeBackend();
  if (values.current !== undefined) throw internalError('traces cannot be nested');
  void tf.setBackend(RECORDER_BACKEND);
  tf.startScope(options.name);
  const recorder = new Recorder(values, {
    contrib: options.contrib ?? true,
    dynamicAxes: options.dynamicAxes ?? [],
  });
  values.current = recorder;
  try {
    const tensors: Record<string, Tensor> = {};
    for (const [name, spec] of Object.entries(inputs))
      tensors[name] = recorder.input(name, spec.shape, spec.type);
    return recorder.finish(fn(tensors));
  } catch (error) {
    throw explain(error, options.name);
  } finally {
    values.current = undefined;
    tf.endScope();
    values.dispose();
    void tf.setBackend(previous);
  }
}

/** Name of the backend that runs eager tfjs. */
function activeBackend(): string {
  // Chooses one where nobody has yet; until then the name is empty.
  backend();
  return getBackend();
}

function explain(error: unknown, name: string): unknown {
  const kernel =
    error instanceof Error ? /Kernel '(\w+)' not registered/.exec(error.message)?.[1] : undefined;
  if (kernel === undefined) return error;
  return internalError(
    `the tfjs kernel ${kernel} cannot be traced to ONNX (while tracing ${name}): add it to src/compiler/kernels`,
  );
}

/**
 * Dynamic axes for `trace`: each gets a prime of its own; use `prime` as the length in the input's shape.
 *
 * @param lengths constant lengths of the model (a vocabulary's size): no prime divides any of them
 */
export function dynamicAxes(
  axes: readonly { readonly name: string; readonly input: string; readonly axis: number }[],
  lengths: Iterable<number> = [],
): DynamicAxis[] {
  const constant = [...lengths];
  const free = AXIS_PRIMES.filter((prime) =>
    constant.every((length) => length === 0 || length % prime !== 0),
  );
  return axes.map((axis, index) => {
    const prime = free[index];
    if (prime === undefined) throw internalError(`no prime is left for the dynamic axis ${axis.name}`);
    return { ...axis, prime };
  });
}
