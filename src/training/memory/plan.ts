import type { SavePolicy } from '../../compiler/split.js';
import { weightCopies } from '../../models/parallel-runner.js';
import { MemoryEstimator, type MemoryPlan, type MemorySizing } from './estimate.js';

/** From the fastest to the smallest. */
const BY_SPEED: readonly SavePolicy[] = ['all', 'matmulOutputs', 'blockInputs'];

/** A plan and the bytes that it is expected to take. */
export interface PlannedMemory extends MemoryPlan {
  readonly estimate: number;
}

/** The fastest plan whose estimate fits the budget; the smallest where none does. A policy that the user names stays. */
export function planMemory(
  sizing: MemorySizing,
  {
    budget = 4e9,
    policy,
  }: { readonly budget?: number | undefined; readonly policy?: SavePolicy | undefined },
): PlannedMemory {
  const estimator = new MemoryEstimator(sizing);
  const policies = policy === undefined ? BY_SPEED : [policy];
  let smallest: PlannedMemory | undefined;
  for (const copies of new Set([weightCopies(sizing.threads), 1])) {
    for (const one of policies) {
      const plan = { policy: one, copies };
      const estimate = estimator.bytes(plan);
      if (estimate <= budget) return { ...plan, estimate };
      if (smallest === undefined || estimate < smallest.estimate) smallest = { ...plan, estimate };
    }
  }
  return smallest as PlannedMemory;
}
