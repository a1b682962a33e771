import { mkdir, mkdtemp, readdir, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../src/shared/errors.js';
import {
  latestCheckpoint,
  pruneCheckpoints,
  readCheckpoint,
  readFinal,
  writeCheckpoint,
  writeFinal,
} from '../../src/training/checkpoint.js';
import { fit } from '../../src/training/fit.js';
import { quadraticStage } from './quadratic-stage.js';

let folder = '';
beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'lmvec-checkpoint-')), 'checkpoints');
});

const stages = ['mntp', 'simcse'];
const save = (stage: string, step: number, values = [1]) => {
  const tensors = new Map([['w', Float32Array.from(values)]]);
  const state = { parameters: tensors, optimizer: { step, m: tensors, v: tensors } };
  return writeCheckpoint(folder, { stage, step, seed: 1, best: null, state });
};

describe('checkpoints', () => {
  it('give back every bit', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(
          fc.stringMatching(/^[a-z_.0-9]{1,12}$/),
          fc.float32Array({ noNaN: true, noDefaultInfinity: true, maxLength: 20 }),
          { maxKeys: 4 },
        ),
        fc.nat(999999),
        async (tensors, step) => {
          const parameters = new Map(Object.entries(tensors));
          const moments = new Map(
            [...parameters].map(([name, data]) => [name, data.map((value) => value / 3)]),
          );
          const best = { stage: 'mntp', step: 3, score: 0.1 + 0.2 };
          const checkpoint = {
            stage: 'mntp',
            step,
            seed: 7,
            best,
            state: {
              parameters,
              optimizer: { step, m: moments, v: parameters },
              lossScale: { scale: 2 ** (step % 24), goodSteps: step },
            },
          };
          const read = await readCheckpoint(await writeCheckpoint(folder, checkpoint));
          const state = read.takeState();
          // Map order is not kept, -0 and denormals are.
          expect(bits(state.parameters)).toEqual(bits(parameters));
          expect(bits(state.optimizer.m)).toEqual(bits(moments));
          expect({ ...read, state: null }).toMatchObject({ ...checkpoint, state: null });
          expect(state.lossScale).toEqual(checkpoint.state.lossScale);
          expect(() => read.takeState()).toThrow('twice');
        },
      ),
      { numRuns: 25 },
    );
  });

  it('let a stopped training end with the same bits as an undisturbed one', async () => {
    const undisturbed = quadraticStage({ size: 33, seed: 5 });
    await fit((index) => undisturbed.step(index), { name: 'a', from: 0, to: 50 });

    const first = quadraticStage({ size: 33, seed: 5 });
    await fit((index) => first.step(index), { name: 'a', from: 0, to: 23 });
    const path = await writeCheckpoint(folder, {
      stage: 'mntp',
      step: 23,
      seed: 5,
      best: null,
      state: first.state(),
    });
    const second = quadraticStage({ size: 33, seed: 5 });
    const checkpoint = await readCheckpoint(path);
    second.restore(checkpoint.takeState());
    await fit((index) => second.step(index), { name: 'a', from: checkpoint.step, to: 50 });

    expect(bits(second.state().parameters)).toEqual(bits(undisturbed.state().parameters));
    expect(bits(second.state().optimizer.v)).toEqual(bits(undisturbed.state().optimizer.v));
  });

  it('are found by stage and step, unfinished ones are not', async () => {
    expect(await latestCheckpoint(folder, stages)).toBeUndefined();
    await save('simcse', 5);
    await save('mntp', 1000);
    await save('mntp', 1_000_000);
    await mkdir(join(folder, '.simcse-step-000009.ab.tmp'));
    await mkdir(join(folder, 'other-step-000100'));
    const path = join(folder, 'simcse-step-000005');
    expect(await latestCheckpoint(folder, stages)).toEqual({ path, stage: 'simcse', step: 5 });
    expect(await latestCheckpoint(folder, ['mntp'])).toMatchObject({ step: 1_000_000 });
  });

  it('are pruned to the last ones, outcomes of stages stay', async () => {
    for (const step of [1, 2, 3]) await save('mntp', step);
    await writeFinal(folder, 'mntp', new Map([['w', Float32Array.of(1.5)]]));
    await save('simcse', 1);
    await pruneCheckpoints(folder, stages);
    expect((await readdir(folder)).sort()).toEqual(['mntp-final', 'mntp-step-000003', 'simcse-step-000001']);
    expect(await readFinal(folder, 'mntp')).toEqual(new Map([['w', Float32Array.of(1.5)]]));
    expect(await readFinal(folder, 'simcse')).toBeUndefined();
  });

  it('are not written with a parameter that is not finite', async () => {
    await save('mntp', 1);
    await expect(save('mntp', 2, [1, Infinity])).rejects.toThrow(
      'parameter w of stage mntp is not finite at step 2',
    );
    expect(await readdir(folder)).toEqual(['mntp-step-000001']);
  });

  it('that are broken are refused in a sentence', async () => {
    const path = await save('mntp', 1, [1, 2, 3]);
    await truncate(join(path, 'adamw-v.safetensors'), 70);
    await expect(readCheckpoint(path)).rejects.toThrow(UserError);
    const other = await save('mntp', 2);
    await writeFile(join(other, 'state.json'), '{"format": 1');
    await expect(readCheckpoint(other)).rejects.toThrow('broken checkpoint');
  });
});

function bits(tensors: ReadonlyMap<string, Float32Array>): Record<string, readonly number[]> {
  const entries = [...tensors].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, data]) => [name, [...new Uint32Array(data.slice().buffer)]]));
}
