import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { learningRateAt } from '../../src/training/learning-rate.js';
import { bareStage } from './tiny.js';

const stage = (options: Record<string, unknown>) =>
  bareStage({ learningRate: 2e-3, maxSteps: 100, ...options });

describe('learning rate', () => {
  it('linear: up to the full rate at the last warm-up step, then down to 0 at the end of the schedule', () => {
    const linear = stage({ schedule: 'linear', warmupSteps: 4 });
    expect([0, 1, 2, 3].map((step) => learningRateAt(step, linear))).toEqual([0.5e-3, 1e-3, 1.5e-3, 2e-3]);
    expect(learningRateAt(4, linear)).toBe(2e-3);
    expect(learningRateAt(52, linear)).toBeCloseTo(1e-3, 12);
    expect(learningRateAt(99, linear)).toBeCloseTo(2e-3 / 96, 12);
    expect(learningRateAt(100, linear)).toBe(0);
  });

  it('cosine: half-way down in the middle', () => {
    const cosine = stage({ schedule: 'cosine' });
    expect(learningRateAt(0, cosine)).toBe(2e-3);
    expect(learningRateAt(25, cosine)).toBeCloseTo(1e-3 * (1 + Math.SQRT1_2), 12);
    expect(learningRateAt(50, cosine)).toBeCloseTo(1e-3, 12);
    expect(learningRateAt(100, cosine)).toBeCloseTo(0, 12);
  });

  it('constant stays', () => {
    expect(learningRateAt(99, stage({ schedule: 'constant' }))).toBe(2e-3);
  });

  it.each(['linear', 'cosine'])(
    '%s: where a stage stops is apart from where its schedule ends',
    (schedule) => {
      const stopped = stage({ schedule, warmupSteps: 5, scheduleSteps: 1000 });
      const whole = stage({ schedule, warmupSteps: 5, maxSteps: 1000 });
      for (let step = 0; step < 100; step++)
        expect(learningRateAt(step, stopped)).toBe(learningRateAt(step, whole));
      expect(learningRateAt(99, stopped)).toBeGreaterThan(0.8 * 2e-3);
      expect(learningRateAt(99, stage({ schedule, warmupSteps: 5 }))).toBeLessThan(0.1 * 2e-3);
    },
  );

  it('never leaves [0, learningRate] and never rises after the warm-up', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('linear', 'cosine', 'constant'),
        fc.integer({ min: 1, max: 200 }),
        fc.nat(300),
        fc.nat(0xffff),
        (schedule, maxSteps, extra, warm) => {
          const scheduleSteps = maxSteps + extra;
          const drawn = stage({ schedule, maxSteps, scheduleSteps, warmupSteps: warm % scheduleSteps });
          let before = Infinity;
          for (let step = 0; step < maxSteps; step++) {
            const rate = learningRateAt(step, drawn);
            expect(rate).toBeGreaterThan(0);
            expect(rate).toBeLessThanOrEqual(2e-3);
            if (step > drawn.warmupSteps) expect(rate).toBeLessThanOrEqual(before);
            before = rate;
          }
        },
      ),
      { seed: 3, numRuns: 60 },
    );
  });
});
