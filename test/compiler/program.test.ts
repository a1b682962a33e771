import { describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { emptyTensor, floatTensor, intTensor, Program } from '../../src/compiler/program.js';
import { trace } from '../../src/compiler/trace.js';
import { reals } from './kernel-case.js';

const MEGABYTE = 2 ** 20;

function scaled(length: number): Promise<Program> {
  const graph = trace(
    ({ x, factor }) => ({ product: x!.mul(factor!), total: x!.sum() }),
    { x: { shape: [length], type: 'float32' }, factor: { shape: [], type: 'float32' } },
    { name: 'scaled' },
  );
  return Program.create(graph, { threads: 1, pool: new TensorPool() });
}

describe('Program.run', () => {
  it('writes the results into the arrays that it was given', async () => {
    const program = await scaled(5);
    const array = new Float32Array(5).fill(-1);
    const into = { product: floatTensor(array, [5]), total: emptyTensor([], 'float32') };
    const x = floatTensor(Float32Array.of(1, 2, 3, 4, 5), [5]);
    for (const factor of [2, 3]) {
      await program.run({ x, factor: floatTensor(Float32Array.of(factor), []) }, into);
      expect([...array]).toEqual([1, 2, 3, 4, 5].map((value) => value * factor));
      expect(into.product.data).toBe(array);
      expect((into.total.data as Float32Array)[0]).toBe(15);
    }
    await program.release();
  });

  it('makes no copies: memory stays where it is over 200 runs of 8 MB', async () => {
    const length = 2 * MEGABYTE;
    const program = await scaled(length);
    const feeds = { x: reals([length], 1), factor: floatTensor(Float32Array.of(2), []) };
    const into = { product: emptyTensor([length], 'float32'), total: emptyTensor([], 'float32') };
    for (let run = 0; run < 10; run++) await program.run(feeds, into);
    const before = process.memoryUsage.rss();
    let most = 0;
    for (let run = 0; run < 200; run++) {
      const buffers = process.memoryUsage().arrayBuffers;
      await program.run(feeds, into);
      most = Math.max(most, process.memoryUsage().arrayBuffers - buffers);
    }
    // A copy would be an array buffer of 8 MB that waits for the garbage collector.
    expect(most).toBeLessThan(MEGABYTE);
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 * MEGABYTE);
    await program.release();
  });

  it('holds the memory of its values for the next run, or gives it back, with the same results', async () => {
    const length = 12 * MEGABYTE;
    const x = reals([length], 1);
    const graph = trace(
      ({ x }) => ({ total: x!.mul(2).exp().sum() }),
      { x: { shape: [length], type: 'float32' } },
      { name: 'one large value' },
    );
    const run = async (keepsWorkspace: boolean): Promise<{ held: number; total: number }> => {
      const program = await Program.create(graph, { threads: 1, pool: new TensorPool(), keepsWorkspace });
      const total = emptyTensor([], 'float32');
      const before = process.memoryUsage.rss();
      for (let i = 0; i < 2; i++) await program.run({ x }, { total });
      const held = process.memoryUsage.rss() - before;
      await program.release();
      return { held, total: (total.data as Float32Array)[0]! };
    };
    const [held, given] = [await run(true), await run(false)];
    expect(given.total).toBe(held.total);
    // The value has 48 MB.
    expect(held.held).toBeGreaterThan(40 * MEGABYTE);
    expect(given.held).toBeLessThan(10 * MEGABYTE);
  });

  it('lets errors of the runtime through', async () => {
    const program = await scaled(5);
    const factor = floatTensor(Float32Array.of(2), []);
    const into = { product: emptyTensor([5], 'float32'), total: emptyTensor([], 'float32') };
    const x = reals([5], 1);
    await expect(program.run({ x: reals([4], 1), factor }, into)).rejects.toThrow(/invalid dimensions/i);
    await expect(program.run({ x: intTensor(new Int32Array(5), [5]), factor }, into)).rejects.toThrow(
      /data type/i,
    );
    await expect(program.run({ x }, into)).rejects.toThrow('input factor was not fed');
    await expect(
      program.run({ x, factor }, { ...into, product: emptyTensor([4], 'float32') }),
    ).rejects.toThrow();
    await program.run({ x, factor }, into);
    expect((into.product.data as Float32Array)[0]).toBeCloseTo(2 * (x.data as Float32Array)[0]!, 6);
    await program.release();
  });

  it('refuses to run once released', async () => {
    const program = await scaled(3);
    await program.release();
    const feeds = { x: reals([3], 1), factor: floatTensor(Float32Array.of(2), []) };
    const into = { product: emptyTensor([3], 'float32'), total: emptyTensor([], 'float32') };
    await expect(program.run(feeds, into)).rejects.toThrow();
  });
});

describe('TensorPool', () => {
  it('gives the same memory again, by size and type', () => {
    const pool = new TensorPool();
    const tensor = pool.acquire([2, 3]);
    const other = pool.acquire([2, 3]);
    expect(other).not.toBe(tensor);
    const [integers, small] = [pool.acquire([2, 3], 'int32'), pool.acquire([2, 2])];
    pool.release(tensor, integers, small);
    expect(pool.acquire([2, 3], 'int32').data).toBe(integers.data);
    expect(pool.acquire([2, 2]).data).toBe(small.data);
    const again = pool.acquire([3, 2]);
    expect(again.data).toBe(tensor.data);
    expect(again.dims).toEqual([3, 2]);
  });

  it('holds no more than was in use at once, and a tenth: what is unused makes room', () => {
    const pool = new TensorPool();
    for (let count = 1000; count < 1100; count++) pool.release(pool.acquire([count]));
    expect(pool.bytes).toBeLessThanOrEqual(1.1 * 4 * 1099);
  });

  it('takes no memory of others', () => {
    const pool = new TensorPool();
    const other = emptyTensor([7], 'float32');
    pool.release(other);
    expect(pool.acquire([7]).data).not.toBe(other.data);
  });

  it('counts what it handed out', () => {
    const pool = new TensorPool();
    pool.release(pool.acquire([10]), pool.acquire([10], 'bool'), pool.acquire([], 'int32'));
    expect(pool.bytes).toBe(40 + 10 + 4);
    pool.acquire([10]);
    expect(pool.bytes).toBe(54);
    pool.clear();
    expect(pool.bytes).toBe(0);
  });
});
