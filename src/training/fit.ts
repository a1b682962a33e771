import { userError } from '../shared/errors.js';
import type { StepResult } from './stage-runner.js';

/** Something done after steps that are multiples of `every`, and after the last one. */
export interface PeriodicHook {
  readonly every: number;
  run(completed: number): Promise<void>;
}

export interface FitOptions {
  /** For messages. */
  readonly name: string;
  /** Steps that are already done. */
  readonly from: number;
  /** Steps that there are in all. */
  readonly to: number;
  /** After every step, before the periodic hooks. `completed` counts from 1. */
  readonly onStep?: (completed: number, result: StepResult) => void;
  /** In this order: what reads the model first, what saves it last. */
  readonly hooks?: readonly PeriodicHook[];
  /** Aborted: the loop ends after the step that is under way and its hooks. */
  readonly signal?: AbortSignal;
}

/**
 * The one training loop: runs `step(from)` ... `step(to - 1)`.
 * @returns how many steps are done: fewer than `to` only where the signal was aborted.
 * @throws UserError at the first loss or gradient norm that is not finite, but where the step was skipped for it; no hook sees that step.
 */
export async function fit(
  step: (index: number) => Promise<StepResult>,
  options: FitOptions,
): Promise<number> {
  for (let index = options.from; index < options.to; index++) {
    if (options.signal?.aborted === true) return index;
    const result = await step(index);
    const completed = index + 1;
    assertFinite(options.name, completed, result);
    options.onStep?.(completed, result);
    for (const hook of options.hooks ?? []) {
      if (completed % hook.every === 0 || completed === options.to) await hook.run(completed);
    }
  }
  return Math.max(options.from, options.to);
}

function assertFinite(name: string, completed: number, result: StepResult): void {
  // Its gradients left float16, and the next step has a smaller loss scale.
  if (result.skipped === true) return;
  const [what, value] = Number.isFinite(result.loss)
    ? (['gradient norm', result.gradientNorm] as const)
    : (['loss', result.loss] as const);
  if (Number.isFinite(value)) return;
  throw userError({
    what: `the ${what} of stage ${name} became ${value} at step ${completed}, so the run was stopped`,
    hint: 'the last checkpoint is from before; a lower learningRate may help',
  });
}
