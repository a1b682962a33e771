import { describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { packTexts } from '../../src/data/packing.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { testDevices } from '../devices.js';
import { relativeDifference } from '../training/tiny.js';
import { Ends, familyGolden, valuesOfTexts, variants } from './family-golden.js';
import { gradientsOf, referenceOf } from './family-gradients.js';

/** One of each kind of norm, position, projection and feed-forward part; TensorFlow is fast enough for all. */
const kinds = ['llama', 'gemma2', 'gpt2', 'phi3', 'gpt_neox'];

/** Of the vectors' norm. WebGPU's functions (tanh, exp, inverse square root) have fewer digits than the CPU's. */
const HIDDEN = 1e-5;
const GRADIENT = 2e-3;

describe.each(testDevices)('against transformers on $device', ({ device, missing }) => {
  if (missing !== undefined) {
    it.skip(`the golden tests: ${missing}`, () => undefined);
    return;
  }

  const chosen = device === 'tensorflow' ? variants : variants.filter((variant) => kinds.includes(variant));

  it.each(chosen)('hidden states and logits: %s', async (variant) => {
    const { decoder, tokenized, hiddenLayers, modes, expected, has } = await familyGolden(variant);
    const pool = new TensorPool(device);
    const ends = new Ends(decoder, pool);
    for (const [mode, choice] of Object.entries(modes)) {
      const runner = new DecoderRunner({ decoder, ...choice, pool, threads: 1 });
      const pass = await runner.forward(packTexts(tokenized, { maxTokens: 64 }), { keep: false });
      const made = [];
      for (const { tile, hidden } of pass.tiles) made.push({ tile, ...(await ends.run(hidden)) });
      const name = `right.${mode}.hidden.${hiddenLayers - 1}`;
      const last = valuesOfTexts(made.map(({ tile, hidden }) => ({ tile, values: hidden })));
      const scores = valuesOfTexts(made.map(({ tile, logits }) => ({ tile, values: logits })));
      expect(has(name)).toBe(true);
      for (const [text, values] of last.entries())
        expect(relativeDifference(values, expected(name, text)), name).toBeLessThan(HIDDEN);
      if (has(`right.${mode}.logits`))
        for (const [text, values] of scores.entries())
          expect(relativeDifference(values, expected(`right.${mode}.logits`, text))).toBeLessThan(HIDDEN);
      runner.release(pass);
      await runner.dispose();
    }
    await ends.release();
    pool.clear();
  });

  it.each(['llama', 'gemma2', 'gpt2'])('gradients by adapters and by every weight: %s', async (variant) => {
    const golden = await familyGolden(variant);
    const reference = await referenceOf(variant);
    const start = 'lora.weight.';
    const adapters = new Map(
      [...reference].flatMap(([name, data]) =>
        name.startsWith(start) ? [[name.slice(start.length), data] as const] : [],
      ),
    );
    const ofAdapters = await gradientsOf(golden, reference, { trainable: adapters, adapterScale: 2, device });
    for (const name of adapters.keys())
      expect(
        relativeDifference(ofAdapters.get(name)!, reference.get(`lora.grad.${name}`)!),
        name,
      ).toBeLessThan(GRADIENT);
    const { weights } = golden.decoder;
    const gradients = await gradientsOf(golden, reference, { trainable: weights, device });
    expect(gradients.size).toBe(weights.size);
    for (const [name, gradient] of gradients)
      expect(relativeDifference(gradient, reference.get(`weight.${name}`)!), name).toBeLessThan(GRADIENT);
  });
});
