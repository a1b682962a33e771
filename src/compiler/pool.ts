import type { Device } from './device.js';
import { elementCount, type TracedType } from './graph.js';
import { boolTensor, emptyTensor, floatTensor, intTensor, type HostTensor } from './program.js';

/**
 * Memory that is used again and again: fresh memory costs a page fault for every 4 KB. Buffers are found by their number of elements, so
 * that tiles of 4 x 128 and 8 x 64 tokens share theirs.
 */
export class TensorPool {
  private readonly free = new Map<string, HostTensor['data'][]>();
  private held = 0;
  /** Tensors whose values never change, with their copies on the device. */
  private readonly constants = new Map<HostTensor, DeviceCopy | undefined>();

  /** @param device where the programs run that take their outputs from here; the memory is this process's own */
  constructor(readonly device: Device = 'cpu') {}

  /** A tensor with whatever values its last user left. */
  acquire(shape: readonly number[], type: TracedType = 'float32'): HostTensor {
    const count = elementCount(shape);
    const buffer = this.free.get(keyOf(count, type))?.pop();
    if (buffer !== undefined) return tensorOver(buffer, shape);
    this.held += count * bytesOf(type);
    return emptyTensor(shape, type);
  }

  release(...tensors: readonly HostTensor[]): void {
    for (const { data, type } of tensors) {
      const key = keyOf(data.length, type as TracedType);
      const list = this.free.get(key);
      if (list === undefined) this.free.set(key, [data]);
      else list.push(data);
    }
  }

  /** The values of this tensor never change from now on: a device that has memory of its own may keep a copy. */
  markConstant(tensor: HostTensor): void {
    if (!this.constants.has(tensor)) this.constants.set(tensor, undefined);
  }

  /** The copy on the device of a tensor that never changes, made where there is none yet; undefined for other tensors. */
  copyOnDevice<T>(tensor: HostTensor, make: () => T, dispose: (copy: T) => void): T | undefined {
    if (!this.constants.has(tensor)) return undefined;
    const known = this.constants.get(tensor);
    // A pool has one device, and a device one kind of copy.
    if (known !== undefined) return known.copy as T;
    const copy = make();
    this.constants.set(tensor, { copy, dispose: () => dispose(copy) });
    return copy;
  }

  /** Bytes ever handed out and not given up by `clear`. */
  get bytes(): number {
    return this.held;
  }

  clear(): void {
    this.free.clear();
    this.held = 0;
    for (const copy of this.constants.values()) copy?.dispose();
    this.constants.clear();
  }
}

interface DeviceCopy {
  readonly copy: unknown;
  dispose(): void;
}

function tensorOver(data: HostTensor['data'], shape: readonly number[]): HostTensor {
  if (data instanceof Float32Array) return floatTensor(data, shape);
  if (data instanceof Int32Array) return intTensor(data, shape);
  return boolTensor(data as Uint8Array, shape);
}

function keyOf(count: number, type: TracedType): string {
  return `${type}:${count}`;
}

function bytesOf(type: TracedType): number {
  return type === 'bool' ? 1 : type === 'int64' ? 8 : 4;
}
