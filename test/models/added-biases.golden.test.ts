import { describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { packTexts } from '../../src/data/packing.js';
import { addedBiases, lacksBiases, withAddedBiases } from '../../src/models/added-biases.js';
import type { Float32Decoder } from '../../src/models/decoder.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { openSafetensors } from '../../src/models/weights/index.js';
import { relativeDifference } from '../training/tiny.js';
import {
  Ends,
  familyDecoder,
  familyGolden,
  mixtureFolder,
  valuesOfTexts,
  variantFolder,
} from './family-golden.js';
import { gradientsOf } from './family-gradients.js';

/** See test/golden/biases/make.py. */
async function referenceOf(variant: string): Promise<Map<string, Float32Array>> {
  const store = await openSafetensors(
    new URL(`../golden/biases/${variant}.safetensors`, import.meta.url).pathname,
  );
  const tensors = new Map<string, Float32Array>();
  for (const name of store.names) tensors.set(name, await store.read(name));
  await store.close();
  return tensors;
}

function named(tensors: ReadonlyMap<string, Float32Array>, start: string): Map<string, Float32Array> {
  return new Map(
    [...tensors].flatMap(([name, data]) =>
      name.startsWith(start) ? [[name.slice(start.length), data]] : [],
    ),
  );
}

describe.each(['llama', 'gemma2', 'phi3-mini'])(
  'biases on the matrices of a decoder without any: %s',
  (variant) => {
    it('has the hidden states of PyTorch, and the gradients by every bias', async () => {
      const golden = await familyGolden(variant);
      const reference = await referenceOf(variant);
      const values = named(reference, 'bias.');
      expect(lacksBiases(golden.decoder.config)).toBe(true);
      const decoder = withAddedBiases(golden.decoder, { values }) as Float32Decoder;
      expect(addedBiases(decoder.config).sort()).toEqual([...values.keys()].sort());

      const pool = new TensorPool();
      const runner = new DecoderRunner({ decoder, attention: 'bidirectional', pool, threads: 1 });
      const ends = new Ends(decoder, pool);
      const { tiles } = await runner.forward(packTexts(golden.tokenized, { maxTokens: 64 }), { keep: false });
      const states = await Promise.all(
        tiles.map(async ({ tile, hidden }) => ({ tile, values: (await ends.run(hidden)).hidden })),
      );
      const width = decoder.config.hidden_size;
      const longest = Math.max(...golden.lengths);
      for (const [text, hidden] of valuesOfTexts(states).entries()) {
        const from = text * longest * width;
        const expected = reference.get('hidden')!.subarray(from, from + hidden.length);
        expect(relativeDifference(hidden, expected)).toBeLessThan(1e-4);
      }
      await ends.release();
      await runner.dispose();
      pool.clear();

      const trainable = new Map([...values.keys()].map((name) => [name, decoder.weights.get(name)!]));
      const gradients = await gradientsOf({ ...golden, decoder }, reference, { trainable });
      for (const name of values.keys())
        expect(relativeDifference(gradients.get(name)!, reference.get(`grad.${name}`)!), name).toBeLessThan(
          1e-3,
        );
    });
  },
);

it('where there are some, none are added', async () => {
  for (const variant of ['qwen2', 'gpt2', 'bert']) {
    const decoder = await familyDecoder(variantFolder(variant));
    expect(withAddedBiases(decoder)).toBe(decoder);
  }
});

it('experts that a router chooses get none, the shared one does', async () => {
  const { config } = withAddedBiases(await familyDecoder(mixtureFolder('deepseek')));
  const names = addedBiases(config);
  expect(names.some((name) => name.includes('.experts.'))).toBe(false);
  expect(names.some((name) => name.includes('shared_experts.down_proj.bias'))).toBe(true);
});
