import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { valuesOf } from '../../src/models/resident.js';
import type { Decoder } from '../../src/models/decoder.js';
import type { AttentionMode, TuningConfig } from '../../src/models/schema.js';
import { createPooling, poolPadded } from '../../src/pooling/registry.js';
import type { PoolingConfig } from '../../src/pooling/schema.js';
import type { ObjectiveContext } from '../../src/training/objectives/objective.js';
import { causalLm, mntp } from '../../src/training/objectives/token-prediction.js';
import type { Target } from '../../src/training/objectives/vocabulary-head.js';
import type { StageConfig } from '../../src/training/schema.js';
import type { StageRunner } from '../../src/training/stage-runner.js';
import {
  padded,
  referenceCrossEntropy,
  referenceGradients,
  referenceHidden,
  referenceSimcse,
  type Weights,
} from './reference.js';
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
  type Variant,
} from './tiny.js';

beforeAll(() => tf.setBackend('cpu'));

const TOLERANCE = 1e-4;

/** All arrays of a stage with their shapes: the decoder's, and what is trained beside them. */
function arraysOf(decoder: Decoder, stage: StageRunner, config: PoolingConfig) {
  const own = createPooling(config, decoder.config).parameterShapes;
  const shapeOf = (name: string, length: number): readonly number[] => {
    const shape = decoder.shapes.get(name) ?? own?.get(name);
    if (shape !== undefined) return shape;
    const [rows, columns] = decoder.shapes.get(name.replace(/\.lora_[AB]/, '')) as [number, number];
    return name.includes('.lora_A.') ? [length / columns, columns] : [rows, length / rows];
  };
  return new Map(
    [...decoder.weights, ...stage.state().parameters].map(([name, data]) => [
      name,
      { data: valuesOf(data), shape: shapeOf(name, data.length) },
    ]),
  );
}

function causalLayers(attention: AttentionMode, layers: number): boolean[] {
  return Array.from({ length: layers }, (_, layer) =>
    typeof attention === 'string' ? attention === 'causal' : layer < layers - attention.lastLayers,
  );
}

/** One step of the stage against the reference: the first moments are its gradients. */
async function compare(
  stage: StageRunner,
  reference: { readonly loss: number; readonly gradients: ReadonlyMap<string, Float32Array> },
): Promise<void> {
  const { loss, gradientNorm } = await stage.step(0);
  expect(loss).toBeCloseTo(reference.loss, 4);
  const { m } = stage.state().optimizer;
  let squares = 0;
  for (const [name, gradient] of m) {
    const expected = reference.gradients.get(name) ?? new Float32Array(gradient.length);
    for (const value of expected) squares += value * value;
    if (expected.every((value) => Math.abs(value) < 1e-12))
      expect(
        gradient.every((value) => Math.abs(value) < 1e-6),
        name,
      ).toBe(true);
    else expect(relativeDifference(gradient, expected), name).toBeLessThan(TOLERANCE);
  }
  expect(gradientNorm / Math.sqrt(squares)).toBeCloseTo(1, 4);
}

const scaleOf = (tuning: TuningConfig): number => (tuning.type === 'lora' ? tuning.alpha / tuning.rank : 0);

interface Case {
  readonly variant: Variant;
  readonly tuning: TuningConfig;
  readonly attention: AttentionMode;
  readonly pooling?: PoolingConfig['type'];
}

const cases: readonly (readonly [string, Case])[] = [
  ['LoRA, bidirectional', { variant: 'base', tuning: lora(), attention: 'bidirectional' }],
  [
    'LoRA on two matrices, causal',
    {
      variant: 'bias',
      tuning: lora({ targetModules: ['q_proj', 'down_proj'] }),
      attention: 'causal',
      pooling: 'weightedMean',
    },
  ],
  [
    'all weights, last layer bidirectional',
    { variant: 'base', tuning: FULL, attention: { lastLayers: 1 }, pooling: 'last' },
  ],
  ['all weights, tied, causal', { variant: 'tied', tuning: FULL, attention: 'causal' }],
  [
    'all weights with biases, bidirectional',
    { variant: 'bias', tuning: FULL, attention: 'bidirectional', pooling: 'first' },
  ],
];

describe('SimCSE: loss and gradients of a stage against a plain decoder', () => {
  it.each([
    ...cases,
    [
      'LoRA and latent attention',
      { variant: 'base', tuning: lora(), attention: 'bidirectional', pooling: 'latentAttention' },
    ] as const,
    [
      'all weights and latent attention',
      { variant: 'tied', tuning: FULL, attention: 'bidirectional', pooling: 'latentAttention' },
    ] as const,
  ])('%s', async (_, { variant, tuning, attention, pooling: type = 'mean' }) => {
    const decoder = await tinyDecoder(variant);
    const config = pooling(type);
    const stage = bareStage({ batchTexts: SENTENCES.length, scale: 5, maxTokens: 64 });
    const runner = await tinyStage({ decoder, stage, tuning, attention, pooling: config });
    if (tuning.type === 'lora' || type === 'latentAttention')
      randomise(
        [...runner.state().parameters]
          .filter(([name]) => !decoder.weights.has(name))
          .map(([, values]) => values),
        8,
      );
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
    const batch = padded(SENTENCES.map((sentence) => tokenizer.encode(sentence)));
    const lossOf = (weights: Weights): tf.Tensor => {
      const hidden = referenceHidden(weights, batch, {
        config: decoder.config,
        causal: causalLayers(attention, decoder.config.num_hidden_layers),
        adapterScale: scaleOf(tuning),
      });
      const mask = tf.tensor2d(batch.ids.map((ids, n) => ids.map((_, i) => (i < batch.lengths[n]! ? 1 : 0))));
      const embeddings = poolPadded(createPooling(config, decoder.config), weights, {
        hidden,
        mask,
      });
      return referenceSimcse(embeddings, stage.objective === 'simcse' ? stage.scale : 0);
    };
    await compare(
      runner,
      referenceGradients(arraysOf(decoder, runner, config), runner.state().parameters.keys(), lossOf),
    );
    await runner.dispose();
  });
});

describe.each(['mntp', 'causalLm'] as const)(
  '%s: loss and gradients of a stage against a plain decoder',
  (objective) => {
    it.each(cases)('%s', async (_, { variant, tuning, attention }) => {
      const decoder = await tinyDecoder(variant);
      const chunks = randomTexts([12, 30, 2, 7, 19], 4);
      const stage: StageConfig = bareStage({
        objective,
        batchTexts: 5,
        ...(objective === 'mntp' ? { maskRatio: 0.4 } : {}),
      });
      let texts: readonly Int32Array[] = [];
      let targets: readonly Target[] = [];
      const createObjective = (given: StageConfig, context: ObjectiveContext) => {
        if (given.objective !== 'mntp' && given.objective !== 'causalLm')
          throw new Error('another objective');
        const made =
          given.objective === 'mntp' ? mntp(chunks, given, context) : causalLm(chunks, given, context);
        const { texts: seen, targets: predicted } = made.batch(0);
        texts = seen.map(({ ids }) => ids);
        targets = predicted;
        return made as unknown as ReturnType<NonNullable<Parameters<typeof tinyStage>[0]['createObjective']>>;
      };
      const runner = await tinyStage({ decoder, stage, tuning, attention, createObjective });
      if (tuning.type === 'lora') randomise(runner.state().parameters.values(), 8);
      const batch = padded(texts);
      const tokens = batch.ids[0]!.length;
      const head = decoder.weights.has('lm_head.weight') ? 'lm_head.weight' : 'model.embed_tokens.weight';
      const lossOf = (weights: Weights): tf.Tensor => {
        const hidden = referenceHidden(weights, batch, {
          config: decoder.config,
          causal: causalLayers(attention, decoder.config.num_hidden_layers),
          adapterScale: scaleOf(tuning),
        });
        const places = tf.oneHot(
          tf.tensor1d(
            targets.map(({ text, place }) => text * tokens + place),
            'int32',
          ),
          texts.length * tokens,
        );
        const states = tf.matMul(
          places.cast('float32'),
          hidden.reshape([texts.length * tokens, decoder.config.hidden_size]),
        );
        return referenceCrossEntropy(
          tf.matMul(states, weights[head]!.transpose()),
          targets.map(({ label }) => label),
        );
      };
      await compare(
        runner,
        referenceGradients(
          arraysOf(decoder, runner, pooling('mean')),
          runner.state().parameters.keys(),
          lossOf,
        ),
      );
      await runner.dispose();
    });
  },
);
