import { describe, expect, it } from 'vitest';
import { relativeDifference } from '../training/tiny.js';
import { familyGolden } from './family-golden.js';
import { gradientsOf, referenceOf } from './family-gradients.js';

describe.each(['llama', 'gemma2', 'gpt2', 'bert'])('gradients against PyTorch: %s', (variant) => {
  it('by every weight', async () => {
    const golden = await familyGolden(variant);
    const reference = await referenceOf(variant);
    const trainable = golden.decoder.weights;
    const gradients = await gradientsOf(golden, reference, { trainable });
    expect(gradients.size).toBe(trainable.size);
    for (const [name, gradient] of gradients) {
      // A bias of all keys moves every score of a query alike: its gradient is 0 but for rounding.
      if (name.endsWith('key.bias')) expect(Math.max(...gradient.map(Math.abs)), name).toBeLessThan(1e-4);
      else expect(relativeDifference(gradient, reference.get(`weight.${name}`)!), name).toBeLessThan(1e-3);
    }
  });

  it('by an adapter on every matrix of the blocks', async () => {
    const golden = await familyGolden(variant);
    const reference = await referenceOf(variant);
    const start = 'lora.weight.';
    const trainable = new Map(
      [...reference].flatMap(([name, data]) =>
        name.startsWith(start) ? [[name.slice(start.length), data] as const] : [],
      ),
    );
    const gradients = await gradientsOf(golden, reference, { trainable, adapterScale: 2 });
    for (const name of trainable.keys())
      expect(
        relativeDifference(gradients.get(name)!, reference.get(`lora.grad.${name}`)!),
        name,
      ).toBeLessThan(1e-3);
  });
});
