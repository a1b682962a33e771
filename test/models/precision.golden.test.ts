import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { packTexts } from '../../src/data/packing.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { testHalves } from '../devices.js';
import { relativeDifference } from '../training/tiny.js';
import { Ends, familyGolden, valuesOfTexts } from './family-golden.js';
import { gradientsOf, referenceOf, tensorsOf } from './family-gradients.js';

const golden = (variant: string): string =>
  fileURLToPath(new URL(`../golden/precision/${variant}.safetensors`, import.meta.url));

/** Of the vectors' norm. PyTorch keeps more between the products as halves than we do; WebGPU adds up in float16. */
const TOLERANCE = {
  float16: { hidden: 3e-3, gradient: 2e-2 },
  bfloat16: { hidden: 2e-2, gradient: 0.15 },
};

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe.each(testHalves)('$precision on $device against autocast', ({ device, precision, missing }) => {
  if (missing !== undefined) {
    it.skip(missing, () => undefined);
    return;
  }
  const computePrecision = precision;
  const tolerance = TOLERANCE[precision];

  it.each(['llama', 'gpt2'])('hidden states: %s', async (variant) => {
    const family = await familyGolden(variant);
    const reference = await tensorsOf(golden(variant));
    const { decoder, tokenized, lengths, hiddenLayers, expected } = family;
    const pool = new TensorPool(device);
    const ends = new Ends(decoder, pool);
    const attention = 'bidirectional';
    const runner = new DecoderRunner({ decoder, attention, pool, threads: 1, computePrecision });
    const pass = await runner.forward(packTexts(tokenized, { maxTokens: 64 }), { keep: false });
    const made = [];
    for (const { tile, hidden } of pass.tiles) made.push({ tile, values: (await ends.run(hidden)).hidden });
    const all = reference.get(`${precision}.hidden`)!;
    const width = decoder.config.hidden_size;
    const longest = Math.max(...lengths);
    for (const [text, values] of valuesOfTexts(made).entries()) {
      const from = text * longest * width;
      const ofTorch = all.subarray(from, from + values.length);
      expect(relativeDifference(values, ofTorch)).toBeLessThan(tolerance.hidden);
      const inFloat32 = expected(`right.bidirectional.hidden.${hiddenLayers - 1}`, text);
      expect(relativeDifference(values, inFloat32)).toBeLessThan(tolerance.hidden);
      // Nobody computed in float32 instead.
      expect(relativeDifference(values, inFloat32)).toBeGreaterThan(tolerance.hidden / 30);
    }
    runner.release(pass);
    await runner.dispose();
    await ends.release();
    pool.clear();
  });

  it.each(['llama', 'gpt2'])('gradients by adapters and by every weight: %s', async (variant) => {
    const family = await familyGolden(variant);
    const inFloat32 = await referenceOf(variant);
    const reference = await tensorsOf(golden(variant));
    const adapters = new Map(
      [...inFloat32].flatMap(([name, data]) =>
        name.startsWith('lora.weight.') ? [[name.slice('lora.weight.'.length), data] as const] : [],
      ),
    );
    const ofAdapters = await gradientsOf(family, inFloat32, {
      trainable: adapters,
      adapterScale: 2,
      device,
      computePrecision,
    });
    const { weights } = family.decoder;
    const ofWeights = await gradientsOf(family, inFloat32, { trainable: weights, device, computePrecision });
    const moved: number[] = [];
    for (const [start, gradients] of [
      ['lora.grad.', ofAdapters],
      ['weight.', ofWeights],
    ] as const) {
      for (const [name, ofTorch] of reference) {
        const key = `${precision}.${start}`;
        if (!name.startsWith(key)) continue;
        const own = gradients.get(name.slice(key.length))!;
        expect(relativeDifference(own, ofTorch), name).toBeLessThan(tolerance.gradient);
        moved.push(relativeDifference(own, inFloat32.get(start + name.slice(key.length))!));
      }
    }
    expect(moved.length).toBeGreaterThan(12);
    expect(mean(moved)).toBeGreaterThan(tolerance.gradient / 30);
    expect(mean(moved)).toBeLessThan(tolerance.gradient);
  });
});
