import { assertNever } from '../shared/errors.js';
import type { StageConfig } from './schema.js';

type Schedule = Pick<StageConfig, 'learningRate' | 'warmupSteps' | 'maxSteps' | 'scheduleSteps' | 'schedule'>;

/** Learning rate of optimizer step `step` (from 0): linear warm-up, then towards 0 at `scheduleSteps`, which may lie beyond `maxSteps`. */
export function learningRateAt(step: number, stage: Schedule): number {
  const { learningRate, warmupSteps, schedule } = stage;
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  const end = stage.scheduleSteps ?? stage.maxSteps;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, end - warmupSteps));
  switch (schedule) {
    case 'constant':
      return learningRate;
    case 'linear':
      return learningRate * (1 - progress);
    case 'cosine':
      return (learningRate * (1 + Math.cos(Math.PI * progress))) / 2;
    default:
      return assertNever(schedule);
  }
}
