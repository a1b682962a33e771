import type { Device } from './device.js';
import { elementCount, type TracedType } from './graph.js';
import { boolTensor, emptyTensor, floatTensor, intTensor, type HostTensor } from './program.js';

type Buffer = HostTensor['data'];

/** How much may be held for the most that was ever in use. What is given up has to be taken again from the system, in fresh pages. */
const SLACK = 1.1;

/**
 * Memory that is used again and again: fresh memory costs a page fault for every 4 KB. Buffers are found by their number of elements, so
 * that tiles of 4 x 128 and 8 x 64 tokens share theirs. Batches differ in their tiles: buffers that have not been used for the longest
 * time make room for new ones, so that no more is held than a batch needs at once, and a little.
 */
export class TensorPool {
  /** By type and count; the keys that were last given back come last. */
  private readonly free = new Map<string, Buffer[]>();
  private own = new WeakSet<Buffer>();
  private held = 0;
  /** Tensors whose values never change, with their copies on the device. */
  private readonly constants = new Map<HostTensor, DeviceCopy | undefined>();

  /** @param device where the programs run that take their outputs from here; the memory is this process's own */
  constructor(readonly device: Device = 'cpu') {}
  private unused = 0;
  private mostUsed = 0;

  /** A tensor with whatever values its last user left. */
  acquire(shape: readonly number[], type: TracedType = 'float32'): HostTensor {
    const count = elementCount(shape);
    const key = keyOf(count, type);
    const list = this.free.get(key);
    const buffer = list?.pop();
    if (list?.length === 0) this.free.delete(key);
    const bytes = count * bytesOf(type);
    if (buffer === undefined) this.held += bytes;
    else this.unused -= bytes;
    this.mostUsed = Math.max(this.mostUsed, this.held - this.unused);
    if (buffer !== undefined) return tensorOver(buffer, shape);
    this.giveUp();
    const tensor = emptyTensor(shape, type);
    this.own.add(tensor.data);
    return tensor;
  }

  /** Memory that is not the pool's own stays its owner's. */
  release(...tensors: readonly HostTensor[]): void {
    for (const { data, type } of tensors) {
      if (!this.own.has(data)) continue;
      const key = keyOf(data.length, type as TracedType);
      const list = this.free.get(key) ?? [];
      list.push(data);
      this.free.delete(key);
      this.free.set(key, list);
      this.unused += data.length * bytesOf(type as TracedType);
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

  /** Bytes handed out and not given up, by `clear` or to make room. */
  get bytes(): number {
    return this.held;
  }

  clear(): void {
    this.free.clear();
    this.own = new WeakSet();
    this.held = 0;
    for (const copy of this.constants.values()) copy?.dispose();
    this.constants.clear();
    this.unused = 0;
    this.mostUsed = 0;
  }

  private giveUp(): void {
    for (const [key, list] of this.free) {
      while (list.length > 0) {
        if (this.held <= SLACK * this.mostUsed) return;
        const bytes = bytesOfKey(key);
        list.pop();
        this.held -= bytes;
        this.unused -= bytes;
      }
      this.free.delete(key);
    }
  }
}

interface DeviceCopy {
  readonly copy: unknown;
  dispose(): void;
}

function tensorOver(data: Buffer, shape: readonly number[]): HostTensor {
  if (data instanceof Float32Array) return floatTensor(data, shape);
  if (data instanceof Int32Array) return intTensor(data, shape);
  return boolTensor(data as Uint8Array, shape);
}

function keyOf(count: number, type: TracedType): string {
  return `${type}:${count}`;
}

function bytesOfKey(key: string): number {
  const [type, count] = key.split(':') as [TracedType, string];
  return Number(count) * bytesOf(type);
}

function bytesOf(type: TracedType): number {
  return type === 'bool' ? 1 : type === 'int64' ? 8 : 4;
}
