import type { SavePolicy } from '../../compiler/split.js';
import { weightCopies } from '../../models/parallel-runner.js';
import { MemoryEstimator, type MemoryParts, type MemoryPlan, type MemorySizing } from './estimate.js';

/** Bytes, where `train.memory` is left out. */
const DEFAULT_BUDGET = 4e9;

/** From the fastest to the smallest. */
const BY_SPEED: readonly SavePolicy[] = ['all', 'matmulOutputs', 'blockInputs'];

/** A plan and the bytes that it is expected to take. */
export interface PlannedMemory extends MemoryPlan {
  readonly estimate: number;
  /** Of the estimate, by what takes them. */
  readonly parts: MemoryParts;
  /** A sentence for the user, where no plan, or not the one that the user names, fits the budget. */
  readonly warning?: string;
}

/** The fastest plan whose estimate fits the budget; the smallest, with a warning, where none does. A policy that the user names stays. */
export function planMemory(
  sizing: MemorySizing,
  {
    budget = DEFAULT_BUDGET,
    policy,
  }: { readonly budget?: number | undefined; readonly policy?: SavePolicy | undefined },
): PlannedMemory {
  const estimator = new MemoryEstimator(sizing);
  const policies = policy === undefined ? BY_SPEED : [policy];
  let smallest: PlannedMemory | undefined;
  for (const copies of new Set([weightCopies(sizing.threads), 1])) {
    for (const one of policies) {
      const parts = estimator.parts({ policy: one, copies });
      const planned = { policy: one, copies, parts, estimate: sumOf(parts) };
      if (planned.estimate <= budget) return planned;
      if (smallest === undefined || planned.estimate < smallest.estimate) smallest = planned;
    }
  }
  const taken = smallest as PlannedMemory;
  return { ...taken, warning: overBudget(taken, budget) };
}

function sumOf(parts: MemoryParts): number {
  return Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
}

function overBudget({ estimate, policy }: PlannedMemory, budget: number): string {
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
  return `train.memory ${gigabytes(budget)} is too little: save policy ${policy} is expected to take ${gigabytes(estimate)} (fewer or shorter texts a batch, or fewer train.threads, take less)`;
}
