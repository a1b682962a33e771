import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { listedExamples, type Example } from '../../src/data/examples.js';
import { valuesOf } from '../../src/models/resident.js';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { createPooling, poolPadded } from '../../src/pooling/registry.js';
import type { TrainingExamples } from '../../src/training/contrastive-data.js';
import { padded, referenceCrossEntropy, referenceGradients, referenceHidden } from './reference.js';
import {
  bareStage,
  lora,
  pooling,
  randomise,
  relativeDifference,
  SENTENCES,
  tinyDecoder,
  tinyStage,
} from './tiny.js';

beforeAll(() => tf.setBackend('cpu'));

const words =
  'the cat and the other cat then sat on that mat a dog the sky is blue and 42 birds fly one two'.split(' ');
const text = (seed: number, length: number): string =>
  Array.from({ length }, (_, i) => words[(seed * 7 + i * 3 + seed * i) % words.length]).join(' ');

const ranked = (count: number, negatives: number): Example[] =>
  Array.from({ length: count }, (_, n) => ({
    form: 'ranked',
    query: text(n, 3 + (n % 4)),
    positive: text(n + 50, 4 + (n % 3)),
    negatives: Array.from({ length: negatives }, (_, k) => text(n + 100 + 31 * k, 2 + ((n + k) % 5))),
  }));
const scored = (count: number): Example[] =>
  Array.from({ length: count }, (_, n) => ({
    form: 'scored',
    first: text(n, 4),
    second: text(n + 9, 5),
    score: n % 3,
  }));
const setOf = (examples: readonly Example[], options: Partial<TrainingExamples> = {}): TrainingExamples => ({
  set: listedExamples('set', examples),
  weight: examples.length,
  prompts: {},
  ...options,
});

describe('a contrastive stage', () => {
  it('has the loss and the gradients of a plain decoder: hard negatives, both ways', async () => {
    const decoder = await tinyDecoder();
    const examples = ranked(5, 2);
    const stage = bareStage({
      objective: 'contrastive',
      batchTexts: 5,
      hardNegatives: 2,
      scale: 8,
      symmetric: true,
      maskDuplicates: false,
    });
    const exampleSets = new Map([['set', setOf(examples)]]);
    const runner = await tinyStage({ decoder, stage, exampleSets });
    randomise(runner.state().parameters.values(), 8);
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
    const all = examples.filter((example) => example.form === 'ranked');
    const texts = [
      ...all.map(({ query }) => query),
      ...all.map(({ positive }) => positive),
      ...all.flatMap(({ negatives }) => negatives),
    ];
    const batch = padded(texts.map((each) => tokenizer.encode(each)));
    const shapes = new Map(
      [...decoder.weights, ...runner.state().parameters].map(([name, data]) => {
        const [rows, columns] = decoder.shapes.get(name.replace(/\.lora_[AB]/, '')) as [number, number];
        const own = decoder.shapes.get(name);
        const shape =
          own ?? (name.includes('.lora_A.') ? [data.length / columns, columns] : [rows, data.length / rows]);
        return [name, { data: valuesOf(data), shape }] as const;
      }),
    );
    const reference = referenceGradients(shapes, runner.state().parameters.keys(), (weights) => {
      const hidden = referenceHidden(weights, batch, {
        config: decoder.config,
        causal: [false, false],
        adapterScale: 2,
      });
      const mask = tf.tensor2d(batch.ids.map((ids, n) => ids.map((_, i) => (i < batch.lengths[n]! ? 1 : 0))));
      const embeddings = poolPadded(createPooling(pooling('mean'), decoder.config), {}, { hidden, mask });
      const unit = embeddings.div(embeddings.square().sum(-1, true).sqrt());
      const [queries, positives] = [
        unit.slice([0, 0], [5, unit.shape[1]!]),
        unit.slice([5, 0], [5, unit.shape[1]!]),
      ];
      const documents = unit.slice([5, 0], [15, unit.shape[1]!]);
      // Examples come in the order of a permutation: a mean over the whole set does not care.
      const labels = [0, 1, 2, 3, 4];
      const there = referenceCrossEntropy(tf.matMul(queries, documents.transpose()).mul(8), labels);
      const back = referenceCrossEntropy(tf.matMul(positives, queries.transpose()).mul(8), labels);
      return there.add(back).div(2);
    });
    const { loss } = await runner.step(0);
    expect(loss).toBeCloseTo(reference.loss, 4);
    for (const [name, gradient] of runner.state().optimizer.m)
      expect(relativeDifference(gradient, reference.gradients.get(name)!), name).toBeLessThan(1e-4);
    await runner.dispose();
  });

  it.each([
    ['ranked examples', ranked(12, 2), { hardNegatives: 2 }],
    ['ranked examples without in-batch negatives', ranked(12, 2), { hardNegatives: 2, inBatch: false }],
    ['scored pairs', scored(12), { scoredLoss: 'angle' }],
    ['Matryoshka', ranked(12, 1), { matryoshka: { dimensions: [4, 8] } }],
  ] as const)(
    '%s in chunks have the gradient of the whole batch, dropout on',
    async (_, examples, options) => {
      const gradientsWith = async (chunkTexts: number | undefined, dropout = 0.1) => {
        const decoder = await tinyDecoder();
        const stage = bareStage({
          objective: 'contrastive',
          batchTexts: 12,
          scale: 20,
          attentionDropout: 2 * dropout,
          ...options,
          ...(chunkTexts === undefined ? {} : { chunkTexts }),
        });
        const runner = await tinyStage({
          decoder,
          stage,
          tuning: lora({ dropout }),
          pooling: pooling('latentAttention'),
          exampleSets: new Map([['set', setOf(examples)]]),
        });
        randomise(runner.state().parameters.values(), 8);
        const { loss } = await runner.step(3);
        const gradients = new Map(
          [...runner.state().optimizer.m].map(([name, values]) => [name, values.slice()]),
        );
        await runner.dispose();
        return { loss, gradients };
      };
      const whole = await gradientsWith(undefined);
      for (const chunkTexts of [5, 1]) {
        const parts = await gradientsWith(chunkTexts);
        expect(parts.loss / whole.loss).toBeCloseTo(1, 5);
        for (const [name, gradient] of parts.gradients)
          expect(relativeDifference(gradient, whole.gradients.get(name)!), name).toBeLessThan(1e-5);
      }
      // What is dropped matters: masks that are not replayed would show.
      const undropped = await gradientsWith(undefined, 0);
      expect(Math.abs(undropped.loss / whole.loss - 1)).toBeGreaterThan(1e-3);
    },
  );

  it('learns: the loss falls', async () => {
    const decoder = await tinyDecoder();
    const runner = await tinyStage({
      decoder,
      stage: bareStage({
        objective: 'contrastive',
        batchTexts: 8,
        hardNegatives: 1,
        scale: 10,
        learningRate: 1e-2,
        betas: [0.9, 0.999],
      }),
      exampleSets: new Map([['set', setOf(ranked(8, 1))]]),
    });
    const first = await runner.step(0);
    let last = first;
    for (let step = 1; step < 15; step++) last = await runner.step(step);
    expect(last.loss).toBeLessThan(0.7 * first.loss);
    await runner.dispose();
  });

  it('a mixed batch counts ranked examples and scored pairs by their number', async () => {
    const decoder = await tinyDecoder();
    const lossOf = async (exampleSets: Map<string, TrainingExamples>, batchTexts: number) => {
      const runner = await tinyStage({
        decoder,
        stage: bareStage({ objective: 'contrastive', batchTexts, scale: 10, sameSetBatches: false }),
        exampleSets,
      });
      const { loss } = await runner.step(0);
      await runner.dispose();
      return loss;
    };
    const both = await lossOf(
      new Map([
        ['a', setOf(ranked(6, 1))],
        ['b', setOf(scored(3), { weight: 3 })],
      ]),
      9,
    );
    const alone = await lossOf(new Map([['a', setOf(ranked(6, 1))]]), 6);
    const pairs = await lossOf(new Map([['b', setOf(scored(3))]]), 3);
    expect(both).toBeCloseTo((6 * alone + 3 * pairs) / 9, 4);
  });

  it('shows instructions as not pooled, by side', async () => {
    const runner = await tinyStage({
      decoder: await tinyDecoder(),
      stage: bareStage({ objective: 'contrastive', batchTexts: 2, hardNegatives: 0, scale: 10 }),
      exampleSets: new Map([
        ['set', setOf(ranked(2, 0), { prompts: { query: 'one two: {text}', document: '{text}' } })],
      ]),
    });
    const { firstBatch, memoryEstimate } = await runner.describe();
    expect(firstBatch).toHaveLength(4);
    expect(firstBatch[0]).toMatch(/^set query: ‹.*two:‹?/);
    expect(firstBatch[2]).not.toContain('‹');
    // The process alone; a tiny model adds little.
    expect(memoryEstimate).toBeGreaterThan(1.5e8);
    expect(memoryEstimate).toBeLessThan(4e8);
    await runner.dispose();
  });

  it('names a set that is not there', async () => {
    await expect(
      tinyStage({
        decoder: await tinyDecoder(),
        stage: bareStage({ objective: 'contrastive', batchTexts: 2, scale: 10, sets: ['sett'] }),
        exampleSets: new Map([['set', setOf(ranked(2, 0))]]),
        sentences: SENTENCES,
      }),
    ).rejects.toThrow(
      /no such set of examples: got sett, expected one of data.sets: set \(did you mean set\?\)/,
    );
  });
});
