import { describe, expect, it } from 'vitest';
import { tuningSchema } from '../../src/models/schema.js';
import { memoryEstimate, planMemory } from '../../src/training/memory.js';
import { stageSchema } from '../../src/training/schema.js';
import { savePolicies } from '../../src/compiler/split.js';
import { tinyDecoder } from './tiny.js';

const sizing = {
  decoder: await tinyDecoder(),
  tuning: tuningSchema.parse({ type: 'lora', dropout: 0.1 }),
  stage: stageSchema.parse({
    objective: 'simcse',
    maxSteps: 1,
    batchTexts: 64,
    maxTokens: 16,
    learningRate: 1e-4,
  }),
  recipe: {
    attention: 'causal',
    window: 'keep',
    pooling: { type: 'mean', layer: -1 },
    maxTokens: 16,
  },
  attentionDropout: 0.1,
  tokensPerText: 16,
  threads: 2,
} as const;

describe('the plan for a memory budget', () => {
  it('is the fastest policy that fits, and the smallest where none does', () => {
    const estimates = savePolicies.map((policy) => memoryEstimate(sizing, { policy, copies: 1 }));
    for (const [index, policy] of savePolicies.entries()) {
      const estimate = estimates[index]!;
      expect(planMemory(sizing, { budget: estimate }).policy).toBe(policy);
      if (index > 0) expect(estimate).toBeLessThan(estimates[index - 1]!);
    }
    expect(planMemory(sizing, { budget: 0 })).toEqual({ policy: 'blockInputs', copies: 1 });
  });

  it('keeps the policy that is named', () => {
    for (const policy of savePolicies) {
      for (const budget of [0, 1e12]) expect(planMemory(sizing, { budget, policy }).policy).toBe(policy);
    }
  });

  it('counts every copy of the weights', () => {
    const of = (copies: number): number => memoryEstimate(sizing, { policy: 'all', copies });
    const weights = [...sizing.decoder.weights.values()].reduce((sum, { length }) => sum + 4 * length, 0);
    expect(of(2) - of(1)).toBe(weights);
  });
});
