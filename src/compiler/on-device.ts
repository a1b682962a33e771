import type { Tensor } from '@tensorflow/tfjs';
import type { InferenceSession } from 'onnxruntime-node';
import type { Device } from './device.js';
import type { TensorPool } from './pool.js';
import { onnxRuntime, sessionOptions, type HostTensor } from './program.js';
import { serialize } from './serialize.js';

/**
 * A tensor as a device reads it: a copy in the device's memory of what never changes, where ONNX Runtime's binding for Node can hold
 * one (WebGPU), else the tensor itself, which is copied in every run.
 */
export function onDevice(
  tensor: HostTensor,
  { pool, device }: { readonly pool: TensorPool; readonly device: Device },
): HostTensor | Promise<HostTensor> {
  if (device !== 'webgpu' || tensor.type !== 'float32') return tensor;
  const copy = pool.copyOnDevice(
    tensor,
    () => copied(tensor),
    (made) => {
      // One that could not be made has failed its run already.
      made.then((gpu) => gpu.dispose()).catch(() => undefined);
    },
  );
  return copy ?? tensor;
}

/** By shape: a decoder has few. */
const sessions = new Map<string, Promise<InferenceSession>>();

/** The output of a graph that does nothing, left where it was computed. */
async function copied(tensor: HostTensor): Promise<HostTensor> {
  // Loaded where it is needed: a thread that only runs programs does without tfjs.
  const { trace } = await import('./trace.js');
  const key = tensor.dims.join('x');
  let session = sessions.get(key);
  if (session === undefined) {
    const graph = trace(
      ({ x }) => ({ y: x as Tensor }),
      { x: { shape: tensor.dims, type: 'float32' } },
      { name: 'copy' },
    );
    session = onnxRuntime().InferenceSession.create(serialize(graph), {
      ...sessionOptions({ device: 'webgpu' }),
      preferredOutputLocation: 'gpu-buffer',
    });
    sessions.set(key, session);
  }
  const { y } = await (await session).run({ x: tensor });
  return y as HostTensor;
}
