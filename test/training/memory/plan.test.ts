import { describe, expect, it } from 'vitest';
import { tuningSchema } from '../../../src/models/schema.js';
import { MemoryEstimator, type MemorySizing } from '../../../src/training/memory/estimate.js';
import { planMemory } from '../../../src/training/memory/plan.js';
import { savePolicies } from '../../../src/compiler/split.js';
import { bareStage, tinyDecoder } from '../tiny.js';

const sizing = {
  decoder: await tinyDecoder(),
  tuning: tuningSchema.parse({ type: 'lora', dropout: 0.1 }),
  stage: bareStage({
    objective: 'simcse',
    maxSteps: 1,
    batchTexts: 512,
    maxTokens: 16,
    learningRate: 1e-4,
    attentionDropout: 0.1,
  }),
  recipe: {
    attention: 'causal',
    window: 'keep',
    pooling: { type: 'mean', layer: -1 },
    maxTokens: 16,
  },
  lengths: [16],
  threads: 2,
} as const;

describe('the plan for a memory budget', () => {
  it('is the fastest policy that fits, and the smallest where none does', () => {
    const estimates = savePolicies.map((policy) => new MemoryEstimator(sizing).bytes({ policy, copies: 1 }));
    for (const [index, policy] of savePolicies.entries()) {
      const estimate = estimates[index]!;
      expect(planMemory(sizing, { budget: estimate }).policy).toBe(policy);
      if (index > 0) expect(estimate).toBeLessThan(estimates[index - 1]!);
    }
    expect(planMemory(sizing, { budget: 0 })).toEqual({
      policy: 'blockInputs',
      copies: 1,
      estimate: estimates.at(-1),
      parts: new MemoryEstimator(sizing).parts({ policy: 'blockInputs', copies: 1 }),
      warning: expect.stringContaining('train.memory 0.00 GB is too little') as string,
    });
    expect(planMemory(sizing, { budget: 1e12 }).warning).toBeUndefined();
  });

  it('keeps the policy that is named', () => {
    for (const policy of savePolicies) {
      for (const budget of [0, 1e12]) expect(planMemory(sizing, { budget, policy }).policy).toBe(policy);
    }
  });

  it('counts the halves of frozen matrices, two bytes a number', () => {
    const plan = { policy: 'all', copies: 1 } as const;
    const weightsWith = (more: Partial<MemorySizing>): number =>
      new MemoryEstimator({ ...sizing, ...more }).parts(plan).weights;
    const { weights, shapes } = sizing.decoder;
    const matrices = [...weights]
      .filter(([name]) => name.startsWith('model.layers.') && shapes.get(name)?.length === 2)
      .reduce((sum, [, { length }]) => sum + length, 0);
    const computePrecision = 'float16';
    expect(weightsWith({ computePrecision }) - weightsWith({})).toBe(2 * matrices);
    const tuning = tuningSchema.parse({ type: 'full' });
    expect(weightsWith({ computePrecision, tuning })).toBe(weightsWith({ tuning }));
  });

  it('counts the blocks that are gone through, and no more', () => {
    const kept = (layer: number): number => {
      const recipe = { ...sizing.recipe, pooling: { type: 'mean', layer } } as const;
      return new MemoryEstimator({ ...sizing, recipe }).parts({ policy: 'all', copies: 1 }).kept;
    };
    const blocks = sizing.decoder.config.num_hidden_layers;
    expect(blocks).toBeGreaterThan(1);
    expect(kept(1) / kept(-1)).toBeCloseTo(1 / blocks, 0.5);
    expect(kept(1)).toBeLessThan(kept(-1));
  });

  it('counts every copy of the weights, and of what is trained', () => {
    const of = (copies: number) => new MemoryEstimator(sizing).parts({ policy: 'all', copies });
    const weights = [...sizing.decoder.weights.values()].reduce((sum, { length }) => sum + 4 * length, 0);
    expect(of(2).weights - of(1).weights).toBe(weights);
    expect(of(2).trained / of(1).trained).toBe(7 / 4);
  });
});
