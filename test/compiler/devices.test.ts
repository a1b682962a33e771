import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkDevice, chooseDevice } from '../../src/compiler/check-device.js';
import { compile, compileGradient } from '../../src/compiler/compile.js';
import { TensorPool } from '../../src/compiler/pool.js';
import { floats, sessionOptions } from '../../src/compiler/program.js';
import { UserError } from '../../src/shared/errors.js';
import { testDevices } from '../devices.js';
import { reals } from './kernel-case.js';

describe('checkDevice', () => {
  it('multiplies on the CPU and says how fast', async () => {
    const check = await checkDevice('cpu', 128);
    expect(check).toMatchObject({ works: true });
    expect((check as { flopsPerSecond: number }).flopsPerSecond).toBeGreaterThan(1e8);
  });
});

describe('chooseDevice', () => {
  const before = process.env['LMVEC_DEVICES'];
  const empty = mkdtempSync(join(tmpdir(), 'lmvec-devices-'));
  beforeAll(() => {
    process.env['LMVEC_DEVICES'] = empty;
  });
  afterAll(() => {
    if (before === undefined) delete process.env['LMVEC_DEVICES'];
    else process.env['LMVEC_DEVICES'] = before;
    rmSync(empty, { recursive: true });
  });

  it('takes what works, and says in one sentence how to install what is missing', async () => {
    expect(await chooseDevice('cpu')).toBe('cpu');
    const refused = chooseDevice('tensorflow');
    await expect(refused).rejects.toThrow(UserError);
    await expect(refused).rejects.toThrow(
      'device: this machine has no tensorflow that works: got TensorFlow is not installed (install it: lmvec setup tensorflow)',
    );
  });
});

describe('sessionOptions', () => {
  it('refuses a device that is no provider of ONNX Runtime', () => {
    expect(sessionOptions({ device: 'webgpu' }).executionProviders).toEqual(['webgpu']);
    expect(() => sessionOptions({ device: 'tensorflow' })).toThrow(
      'an ONNX graph does not run on this device',
    );
  });
});

describe.each(testDevices)('programs on $device', ({ device, missing }) => {
  if (missing !== undefined) {
    it.skip(missing, () => undefined);
    return;
  }

  const fn = ({ x, w }: Readonly<Record<string, Tensor>>): Tensor => x!.matMul(w!, false, true).tanh();
  const inputs = (seed: number) => ({
    x: reals([3, 4], seed),
    w: reals([5, 4], 7),
  });

  it('give what the CPU gives, forward and backward; constants too, and after other values', async () => {
    const run = async (pool: TensorPool, policy: 'all' | 'blockInputs') => {
      const forward = compile((tensors) => ({ y: fn(tensors) }), { name: 'forward', pool });
      const gradient = compileGradient(fn, { name: 'gradient', pool, wrt: ['x', 'w'], policy });
      const results: number[] = [];
      const { w } = inputs(0);
      pool.markConstant(w);
      for (const seed of [1, 2, 3]) {
        const given = { ...inputs(seed), w };
        const { y } = await forward.run(given);
        const { output, saved } = await gradient.forward(given);
        const dy = reals([3, 5], 9);
        const { x: dx, w: dw } = await gradient.backward(given, saved, dy);
        for (const tensor of [y, output, dx, dw]) results.push(...floats(tensor!));
      }
      await forward.release();
      await gradient.release();
      pool.clear();
      return results;
    };
    for (const policy of ['all', 'blockInputs'] as const) {
      const expected = await run(new TensorPool(), policy);
      const actual = await run(new TensorPool(device), policy);
      expect(actual).toHaveLength(3 * (15 + 15 + 12 + 20));
      for (const [i, value] of actual.entries()) expect(value).toBeCloseTo(expected[i]!, 5);
    }
  });
});
