import type { TensorInfo } from '@tensorflow/tfjs';
import { elementType, type Recorder } from '../recorder.js';

/** ONNX's type numbers for Cast. */
const CAST_TO = { float32: 1, int32: 6, bool: 9 } as const;

export function castTo(recorder: Recorder, x: TensorInfo, type: keyof typeof CAST_TO): TensorInfo {
  if (type === elementType(x.dtype)) return x;
  return recorder.emit('Cast', [x], { shape: x.shape, type }, { to: { kind: 'int', value: CAST_TO[type] } });
}
