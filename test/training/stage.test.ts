import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { valuesOf } from '../../src/models/resident.js';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { causalLm } from '../../src/training/objectives/token-prediction.js';
import type { CausalLmStageConfig } from '../../src/training/schema.js';
import type { StageRunner } from '../../src/training/stage-runner.js';
import { padded, referenceGradients, referenceHidden, referenceSimcse } from './reference.js';
import {
  bareStage,
  FULL,
  lora,
  pooling,
  randomise,
  randomTexts,
  relativeDifference,
  SENTENCES,
  tinyDecoder,
  tinyStage,
} from './tiny.js';

beforeAll(() => tf.setBackend('cpu'));

const moments = (stage: StageRunner): Map<string, Float32Array> =>
  new Map([...stage.state().optimizer.m].map(([name, values]) => [name, values.slice()]));

const flat = (arrays: ReadonlyMap<string, Float32Array>): number[] =>
  [...arrays.keys()].sort().flatMap((name) => [...arrays.get(name)!]);

describe('merging', () => {
  it('a stage that has merged an adapter embeds as the stage that trained it', async () => {
    const tuning = lora();
    const decoder = await tinyDecoder();
    const stage = bareStage({});
    const first = await tinyStage({ decoder, stage, tuning });
    randomise(first.state().parameters.values(), 5, 0.2);
    const adapted = (await first.encode(SENTENCES)).data;
    const finished = { name: 'first', stage, parameters: structuredClone(first.state().parameters) };
    await first.dispose();
    const second = await tinyStage({ decoder, stage, tuning, previous: [finished] });
    expect(relativeDifference((await second.encode(SENTENCES)).data, adapted)).toBeLessThan(1e-5);
    await second.dispose();
    const untouched = await tinyStage({ decoder: await tinyDecoder(), stage, tuning });
    expect(relativeDifference((await untouched.encode(SENTENCES)).data, adapted)).toBeGreaterThan(0.05);
    await untouched.dispose();
  });
});

describe('a trained pooling', () => {
  it('goes on in the next stage from where the last one left it', async () => {
    const stage = bareStage({ learningRate: 0.1 });
    const options = { stage, tuning: lora(), pooling: pooling('latentAttention') };
    const first = await tinyStage({ decoder: await tinyDecoder(), ...options });
    await first.step(0);
    const finished = { name: 'first', stage, parameters: structuredClone(first.state().parameters) };
    await first.dispose();
    const second = await tinyStage({ decoder: await tinyDecoder(), ...options, previous: [finished] });
    const own = [...second.state().parameters].filter(([name]) => name.startsWith('latent_attention_model.'));
    expect(own.length).toBeGreaterThan(10);
    for (const [name, values] of own) expect(values, name).toEqual(finished.parameters.get(name));
    await second.dispose();
  });
});

describe('secondPrompt', () => {
  it('frames the second views: as many tokens as both frames have, and another loss than one frame gives', async () => {
    const texts = SENTENCES.length;
    const options = { batchTexts: texts, maxTokens: 64, prompt: 'the "{text}"' };
    const same = await tinyStage({ decoder: await tinyDecoder(), stage: bareStage(options), tuning: lora() });
    const one = await same.step(0);
    await same.dispose();
    const stage = bareStage({ ...options, secondPrompt: 'the "{text}" is that' });
    const two = await tinyStage({ decoder: await tinyDecoder(), stage, tuning: lora() });
    const { tokens, loss } = await two.step(0);
    await two.dispose();
    const { json, config } = (await tinyDecoder()).tokenizer;
    const extra = createTokenizer(json, config).encode(' is that').length;
    expect(tokens - one.tokens).toBe(extra * texts);
    expect(Math.abs(loss - one.loss)).toBeGreaterThan(1e-3);
  });
});

describe('compat: llm2vec', () => {
  it('pools padding on the left as LLM2Vec does: loss and gradients against a plain decoder', async () => {
    const decoder = await tinyDecoder();
    const tuning = lora();
    const stage = await tinyStage({
      decoder,
      stage: bareStage({ compat: 'llm2vec', batchTexts: SENTENCES.length, scale: 4, maxTokens: 64 }),
      tuning,
    });
    randomise(stage.state().parameters.values(), 3);
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
    const batch = padded(
      SENTENCES.map((sentence) => tokenizer.encode(sentence)),
      'left',
      tokenizer.eosTokenId,
    );
    const tokens = batch.ids[0]!.length;
    const { parameters } = stage.state();
    const shapeOf = (name: string, length: number): readonly number[] => {
      const own = decoder.shapes.get(name);
      if (own !== undefined) return own;
      const [rows, columns] = decoder.shapes.get(name.replace(/\.lora_[AB]/, '')) as [number, number];
      return name.includes('.lora_A.') ? [length / columns, columns] : [rows, length / rows];
    };
    const arrays = new Map(
      [...decoder.weights, ...parameters].map(([name, data]) => [
        name,
        { data: valuesOf(data), shape: shapeOf(name, data.length) },
      ]),
    );
    const { loss, gradients } = referenceGradients(arrays, parameters.keys(), (weights) => {
      const hidden = referenceHidden(weights, batch, {
        config: decoder.config,
        causal: [false, false],
        adapterScale: 2,
        // Everything looks at the text, padding too; positions count from the start of the row.
        allowed: (n, _query, key) => key >= tokens - batch.lengths[n]!,
      });
      return referenceSimcse(hidden.mean(1), 4);
    });
    const result = await stage.step(0);
    expect(result.loss).toBeCloseTo(loss, 4);
    expect(result.multipliedTokens).toBe(2 * SENTENCES.length * tokens);
    for (const [name, gradient] of stage.state().optimizer.m)
      expect(relativeDifference(gradient, gradients.get(name)!), name).toBeLessThan(1e-4);
    await stage.dispose();
  });
});

describe('accumulation and clipping', () => {
  // Texts of one length in tokens: the mean over a batch is the mean of its halves' means.
  const equal = Array.from({ length: 8 }, (_, i) => `${i}${(i * 3) % 10}${(i * 7) % 10}0123`);

  it('causal LM: 2 batches of 4 texts of one length have the gradient of one batch of 8', async () => {
    const gradients = [];
    for (const options of [{ batchTexts: 4, accumulate: 2 }, { batchTexts: 8 }]) {
      const chunks = randomTexts(new Array<number>(8).fill(9), 5);
      const stage = await tinyStage({
        decoder: await tinyDecoder(),
        stage: bareStage({ objective: 'causalLm', ...options }),
        tuning: FULL,
        createObjective: (given, context) => causalLm(chunks, given as CausalLmStageConfig, context),
      });
      const { loss, tokens } = await stage.step(0);
      gradients.push({ loss, tokens, gradient: flat(moments(stage)) });
      await stage.dispose();
    }
    const [halves, whole] = gradients;
    expect(halves!.tokens).toBe(whole!.tokens);
    expect(halves!.loss).toBeCloseTo(whole!.loss, 5);
    expect(relativeDifference(halves!.gradient, whole!.gradient)).toBeLessThan(1e-5);
  });

  it('SimCSE: they do not, for a text has only the negatives of its own batch', async () => {
    const losses = [];
    for (const options of [{ batchTexts: 4, accumulate: 2 }, { batchTexts: 8 }]) {
      const stage = await tinyStage({
        decoder: await tinyDecoder(),
        stage: bareStage({ scale: 1, ...options }),
        sentences: equal,
      });
      losses.push((await stage.step(0)).loss);
      await stage.dispose();
    }
    // Near log 4 and log 8.
    expect(losses[1]! - losses[0]!).toBeGreaterThan(0.3);
  });

  it('clipping scales the whole gradient to its norm, and only where it is larger', async () => {
    const gradientWith = async (clipNorm: number | null): Promise<{ norm: number; gradient: number[] }> => {
      const stage = await tinyStage({
        decoder: await tinyDecoder(),
        stage: bareStage({ clipNorm, scale: 1 }),
      });
      randomise(stage.state().parameters.values(), 3);
      const { gradientNorm } = await stage.step(0);
      const gradient = flat(moments(stage));
      await stage.dispose();
      return { norm: gradientNorm, gradient };
    };
    const free = await gradientWith(null);
    const clipped = await gradientWith(free.norm / 4);
    expect(clipped.norm).toBe(free.norm);
    expect(
      relativeDifference(
        clipped.gradient.map((value) => 4 * value),
        free.gradient,
      ),
    ).toBeLessThan(1e-5);
    expect((await gradientWith(free.norm * 4)).gradient).toEqual(free.gradient);
  });
});

describe('memory', () => {
  it('stays where it is over many steps', async () => {
    const pools = new Set<TensorPool>();
    const acquire = vi.spyOn(TensorPool.prototype, 'acquire');
    try {
      const stage = await tinyStage({
        decoder: await tinyDecoder(),
        stage: bareStage({ maxSteps: 400, batchTexts: SENTENCES.length, attentionDropout: 0.3 }),
        tuning: lora({ dropout: 0.1 }),
      });
      // The same texts in every step, so the same shapes in another order.
      for (let step = 0; step < 20; step++) await stage.step(step);
      await stage.encode(SENTENCES);
      for (const pool of acquire.mock.contexts) pools.add(pool as TensorPool);
      acquire.mockRestore();
      const [pool] = pools;
      const before = { bytes: pool!.bytes, tensors: tf.memory().numTensors, rss: process.memoryUsage().rss };
      for (let step = 20; step < 300; step++) await stage.step(step);
      await stage.encode(SENTENCES);
      expect(pools.size).toBe(1);
      expect(pool!.bytes).toBe(before.bytes);
      expect(tf.memory().numTensors).toBe(before.tensors);
      expect(process.memoryUsage().rss - before.rss).toBeLessThan(100e6);
      await stage.dispose();
    } finally {
      acquire.mockRestore();
    }
  });
});
