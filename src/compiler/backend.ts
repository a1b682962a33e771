import { env, KernelBackend, registerBackend, registerKernel } from '@tensorflow/tfjs';
import type { BackendValues, DataType, KernelFunc, TensorInfo } from '@tensorflow/tfjs';
import { internalError } from '../shared/errors.js';
import type { TracedType } from './graph.js';
import { elementType, type Recorder, type RecordInputs, type RecordKernel } from './recorder.js';

/** Name of the tfjs backend whose kernels record ONNX nodes instead of computing. */
export const RECORDER_BACKEND = 'lmvec-recorder';

/** What a tensor of the backend stands for. */
interface Recorded {
  /** Name of the ONNX value, or undefined for a constant nobody has used yet. */
  name: string | undefined;
  readonly shape: readonly number[];
  readonly type: TracedType;
  readonly values: Float32Array | Int32Array | Uint8Array | undefined;
  /** The one value that all elements of a constant have. */
  readonly uniform: number | undefined;
}

/** The tfjs backend: holds what each data id stands for; the current `Recorder` gets the nodes. */
export class RecorderBackend extends KernelBackend {
  private readonly values = new Map<object, Recorded>();
  private readonly references = new Map<object, number>();
  current: Recorder | undefined;

  value(recorded: Recorded): TensorInfo {
    const dataId = {};
    this.values.set(dataId, recorded);
    this.references.set(dataId, 1);
    return { dataId, shape: [...recorded.shape], dtype: recorded.type === 'int64' ? 'int32' : recorded.type };
  }

  recorded(tensor: TensorInfo): Recorded {
    const recorded = this.values.get(tensor.dataId);
    if (recorded === undefined)
      throw internalError('a traced function used a tensor made outside it: pass it as an input');
    return recorded;
  }

  recorder(): Recorder {
    if (this.current === undefined) throw internalError('no trace is under way on the recorder backend');
    return this.current;
  }

  override write(values: BackendValues, shape: number[], dtype: DataType): object {
    const type = elementType(dtype);
    const numbers =
      type === 'float32'
        ? Float32Array.from(values as Float32Array)
        : type === 'int32'
          ? Int32Array.from(values as Int32Array)
          : Uint8Array.from(values as Uint8Array);
    const first = numbers[0];
    const uniform =
      first !== undefined && numbers.every((value) => Object.is(value, first)) ? first : undefined;
    return this.value({ name: undefined, shape, type, values: numbers, uniform }).dataId;
  }

  override readSync(): BackendValues {
    throw internalError(
      "a traced function read a tensor's values (dataSync, arraySync): the values are not known while tracing",
    );
  }

  override read(): Promise<BackendValues> {
    return Promise.reject(internalError("a traced function read a tensor's values (data, array)"));
  }

  override numDataIds(): number {
    return this.values.size;
  }

  override refCount(dataId: object): number {
    return this.references.get(dataId) ?? 0;
  }

  override incRef(dataId: object): void {
    this.references.set(dataId, this.refCount(dataId) + 1);
  }

  override disposeData(dataId: object, force = false): boolean {
    const left = this.refCount(dataId) - 1;
    this.references.set(dataId, left);
    if (!force && left > 0) return false;
    this.values.delete(dataId);
    this.references.delete(dataId);
    return true;
  }

  override memory(): { unreliable: boolean } {
    return { unreliable: false };
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  override timerAvailable(): boolean {
    return false;
  }

  /** Values live as long as one trace; tfjs disposes only of those that became tensors. */
  override dispose(): void {
    this.values.clear();
    this.references.clear();
  }
}

let installed: RecorderBackend | undefined;

/** The one recorder backend of this process, registered with tfjs on first use. */
export function recorderBackend(kernels: Readonly<Record<string, RecordKernel>>): RecorderBackend {
  if (installed !== undefined) return installed;
  const backend = new RecorderBackend();
  installed = backend;
  // Silences tfjs' advice to install tfjs-node: the tensors are run by ONNX Runtime.
  env().set('PROD', true);
  registerBackend(RECORDER_BACKEND, () => backend, 0);
  for (const [kernelName, kernel] of Object.entries(kernels)) {
    const kernelFunc: KernelFunc = ({ inputs, attrs }) =>
      kernel(backend.recorder(), inputs as RecordInputs, attrs ?? {});
    registerKernel({ kernelName, backendName: RECORDER_BACKEND, kernelFunc });
  }
  return backend;
}
