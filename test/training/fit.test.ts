import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/shared/errors.js';
import { fit } from '../../src/training/fit.js';
import { quadraticStage } from './quadratic-stage.js';

const stage = (breaksAt?: number) =>
  quadraticStage({ size: 4, seed: 1, ...(breaksAt === undefined ? {} : { breaksAt }) });

describe('fit', () => {
  it('runs the steps in order, hooks at their multiples and after the last step', async () => {
    const events: string[] = [];
    const runner = stage();
    const done = await fit((index) => runner.step(index), {
      name: 'a',
      from: 2,
      to: 7,
      onStep: (completed) => events.push(`step ${completed}`),
      hooks: [
        { every: 3, run: (completed) => Promise.resolve(void events.push(`evaluate ${completed}`)) },
        { every: 2, run: (completed) => Promise.resolve(void events.push(`save ${completed}`)) },
      ],
    });
    expect(done).toBe(7);
    expect(events).toEqual([
      'step 3',
      'evaluate 3',
      'step 4',
      'save 4',
      'step 5',
      'step 6',
      'evaluate 6',
      'save 6',
      'step 7',
      'evaluate 7',
      'save 7',
    ]);
  });

  it('learns', async () => {
    const runner = stage();
    const losses: number[] = [];
    await fit((index) => runner.step(index), {
      name: 'a',
      from: 0,
      to: 200,
      onStep: (_, { loss }) => losses.push(loss),
    });
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(losses.slice(-50))).toBeLessThan(0.5 * mean(losses.slice(0, 10)));
  });

  it('stops at a loss that is not a number, before any hook sees it', async () => {
    const runner = stage(3);
    const saved: number[] = [];
    const run = fit((index) => runner.step(index), {
      name: 'simcse',
      from: 0,
      to: 10,
      hooks: [{ every: 1, run: (completed) => Promise.resolve(void saved.push(completed)) }],
    });
    await expect(run).rejects.toThrow(UserError);
    await expect(run).rejects.toThrow('the loss of stage simcse became NaN at step 4');
    expect(saved).toEqual([1, 2, 3]);
    expect(runner.state().optimizer.step).toBe(3);
  });

  it('goes on behind a step that was skipped because its gradients left float16', async () => {
    const runner = quadraticStage({ size: 4, seed: 1, overflowsAt: 3 });
    const norms: number[] = [];
    const done = await fit((index) => runner.step(index), {
      name: 'a',
      from: 0,
      to: 6,
      onStep: (_, { gradientNorm }) => norms.push(gradientNorm),
    });
    expect(done).toBe(6);
    expect(norms.map(Number.isFinite)).toEqual([true, true, true, false, true, true]);
    expect(runner.state().optimizer.step).toBe(5);
  });

  it('ends after the step under way when it is interrupted', async () => {
    const controller = new AbortController();
    const runner = stage();
    const done = await fit((index) => runner.step(index), {
      name: 'a',
      from: 0,
      to: 10,
      signal: controller.signal,
      onStep: (completed) => {
        if (completed === 4) controller.abort();
      },
    });
    expect(done).toBe(4);
  });

  it('has nothing to do where all steps are done', async () => {
    const runner = stage();
    expect(await fit((index) => runner.step(index), { name: 'a', from: 5, to: 5 })).toBe(5);
    expect(runner.state().optimizer.step).toBe(0);
  });
});
