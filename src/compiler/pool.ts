import { elementCount, type ElementType } from './graph.js';
import { emptyTensor, type HostTensor } from './program.js';

/** Tensors that are used again and again: fresh memory costs a page fault for every 4 KB. */
export class TensorPool {
  private readonly free = new Map<string, HostTensor[]>();
  private held = 0;

  /** A tensor with whatever values its last user left. */
  acquire(shape: readonly number[], type: ElementType = 'float32'): HostTensor {
    const tensor = this.free.get(keyOf(shape, type))?.pop();
    if (tensor !== undefined) return tensor;
    this.held += elementCount(shape) * (type === 'bool' ? 1 : 4);
    return emptyTensor(shape, type);
  }

  release(...tensors: readonly HostTensor[]): void {
    for (const tensor of tensors) {
      const key = keyOf(tensor.dims, tensor.type as ElementType);
      const list = this.free.get(key);
      if (list === undefined) this.free.set(key, [tensor]);
      else list.push(tensor);
    }
  }

  /** Bytes ever handed out and not given up by `clear`. */
  get bytes(): number {
    return this.held;
  }

  clear(): void {
    this.free.clear();
    this.held = 0;
  }
}

function keyOf(shape: readonly number[], type: ElementType): string {
  return `${type}:${shape.join('x')}`;
}
