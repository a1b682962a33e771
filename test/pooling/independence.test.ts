import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { HostTensors } from '../../src/compiler/compile.js';
import { TensorPool } from '../../src/compiler/pool.js';
import { floatTensor } from '../../src/compiler/program.js';
import type { Batch, TokenizedText } from '../../src/data/batch.js';
import { packTexts, padTexts } from '../../src/data/packing.js';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { initialiseLora } from '../../src/models/lora.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { GradientSink } from '../../src/models/gradient-sink.js';
import type { AttentionMode } from '../../src/models/schema.js';
import { createPooling } from '../../src/pooling/registry.js';
import type { PoolingConfig } from '../../src/pooling/schema.js';
import { EmbeddingHead } from '../../src/training/objectives/embedding-head.js';
import { pooling, randomise, randomTexts, relativeDifference, tinyDecoder } from '../training/tiny.js';

const attentions: readonly AttentionMode[] = ['causal', 'bidirectional', { lastLayers: 1 }];
const poolings = new Map<string, PoolingConfig>([
  ...(['first', 'mean', 'weightedMean', 'last', 'eos', 'latentAttention'] as const).map(
    (type) => [type, pooling(type)] as const,
  ),
  ['mean of a layer below the last', pooling('mean', { layer: -2 })],
  ['mean of several layers', pooling('mean', { layer: [0, -1] })],
  ['learned mix of layers', pooling('weightedMean', { layer: { learned: 'all' } })],
  ['self-attention', pooling('selfAttention', { heads: 2, headDimension: 5, feedForwardMultiple: 1 })],
  ['tuner over two layers', pooling('lmort', { layer: [1, -1], blocks: 2, heads: 2, headDimension: 5 })],
  ['special tokens, their mean', pooling('specialTokens', { tokens: 2, aggregate: 'mean' })],
  ['dense head', pooling('mean', { head: { type: 'dense', dimensions: 24 } })],
]);

const decoder = await tinyDecoder();
const width = decoder.config.hidden_size;
const pool = new TensorPool();

const tuning = {
  rank: 3,
  alpha: 6,
  targetModules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
};
const adapters = initialiseLora(decoder.config, tuning, 1);
randomise(adapters.values(), 2, 0.2);

function runnerOf(attention: AttentionMode): DecoderRunner {
  return new DecoderRunner({
    decoder,
    attention,
    pool,
    threads: 1,
    trainable: adapters,
    adapterScale: 2,
    attentionDropout: 0.3,
    adapterDropout: 0.2,
    policy: 'blockInputs',
  });
}

function headOf(config: PoolingConfig, attention: AttentionMode, runner: DecoderRunner): EmbeddingHead {
  const created = createPooling(config, decoder.config);
  const parameters = created.initialise?.(3) ?? new Map<string, Float32Array>();
  randomise(parameters.values(), 4, 0.3);
  const poolingTensors: HostTensors = Object.fromEntries(
    [...parameters].map(([name, data]) => [
      name,
      floatTensor(data, created.parameterShapes?.get(name) ?? []),
    ]),
  );
  return new EmbeddingHead({
    decoder,
    tokenizer: createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config),
    recipe: { attention, window: 'keep', pooling: config, maxTokens: 64 },
    runner,
    pool,
    threads: 1,
    seed: 0,
    trained: new Set(parameters.keys()),
    poolingTensors,
  });
}

interface Outcome {
  readonly embeddings: Float32Array;
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

interface Use {
  readonly runner: DecoderRunner;
  readonly head: EmbeddingHead;
  /** By the embeddings, [texts, D]: sum over the texts of a weighted sum of their embeddings is the loss. */
  readonly weights: Float32Array;
  readonly dropout: boolean;
}

/** Embeddings of the texts in the batches, and the gradient of the sum of their losses. */
async function outcomeOf(
  batches: readonly Batch[],
  { runner, head, weights, dropout }: Use,
): Promise<Outcome> {
  const pass = await runner.forward(batches, {
    keep: true,
    layers: head.blocks,
    also: head.also,
    ...(dropout ? { dropout: { seed: 5, step: 6 } } : {}),
  });
  const pooled = await head.forward(pass, weights.length / width);
  const sink = new GradientSink();
  const embeddings = pooled.embeddings.slice();
  const hiddenGradients = await head.backward(pass, pooled, { gradient: weights, sink });
  await runner.backward(pass, hiddenGradients, sink);
  return { embeddings, gradients: sink.gradients };
}

/** A batch of one text that keeps the number it has among all texts: dropout depends on it and on nothing else. */
function single(text: TokenizedText, index: number, pad?: { side: 'left' | 'right'; tokens: number }): Batch {
  const filler = {
    ids: new Int32Array(pad?.tokens ?? text.ids.length).fill(9),
    pool: new Uint8Array(pad?.tokens ?? text.ids.length),
  };
  const batch = padTexts([text, filler], pad?.side ?? 'right');
  const [placed] = batch.texts;
  const from = <A extends Int32Array | Uint8Array>(values: A): A => values.slice(0, batch.tokensPerRow) as A;
  return {
    rows: 1,
    tokensPerRow: batch.tokensPerRow,
    inputIds: from(batch.inputIds),
    positions: from(batch.positions),
    segments: from(batch.segments),
    poolMask: from(batch.poolMask),
    texts: [{ ...placed!, index }],
  };
}

const arrangement = fc.record({
  seed: fc.nat(1e6),
  // Few lengths: each new shape of a batch is compiled.
  lengths: fc.array(fc.constantFrom(1, 3, 6, 11), { minLength: 2, maxLength: 7 }),
  hole: fc.constantFrom(0, 3),
  dropout: fc.boolean(),
});

const TOLERANCE = 1e-5;

describe.each(attentions)('a text depends on nothing but itself: attention %j', (attention) => {
  const runner = runnerOf(attention);
  const heads = new Map([...poolings].map(([name, config]) => [name, headOf(config, attention, runner)]));
  afterAll(async () => {
    for (const head of heads.values()) await head.dispose();
    await runner.dispose();
  });

  it.each([...poolings.keys()])('%s', async (name) => {
    await fc.assert(
      fc.asyncProperty(arrangement, async ({ seed, lengths, hole, dropout }) => {
        const texts = randomTexts(lengths, seed, hole);
        const weights = new Float32Array(texts.length * width);
        randomise([weights], seed + 1, 1);
        const use = { runner, head: heads.get(name)!, weights, dropout };
        const packed = await outcomeOf(packTexts(texts, { maxTokens: 16 }), use);
        const layouts = [undefined, { side: 'left', tokens: 16 }, { side: 'right', tokens: 16 }] as const;
        for (const layout of layouts) {
          const sum = new GradientSink();
          for (const [index, text] of texts.entries()) {
            const { embeddings, gradients } = await outcomeOf([single(text, index, layout)], use);
            const row = [index * width, (index + 1) * width] as const;
            const difference = relativeDifference(
              embeddings.subarray(...row),
              packed.embeddings.subarray(...row),
            );
            expect(difference, `embedding of text ${index}, ${layout?.side ?? 'alone'}`).toBeLessThan(
              TOLERANCE,
            );
            for (const [parameter, gradient] of gradients) sum.add(parameter, gradient);
          }
          expect(sum.gradients.size).toBe(packed.gradients.size);
          // Relative to the whole gradient: a matrix whose gradient cancels almost to nothing is no measure.
          const all = (gradients: ReadonlyMap<string, Float32Array>): number[] =>
            [...gradients.keys()].sort().flatMap((parameter) => [...gradients.get(parameter)!]);
          expect(
            relativeDifference(all(sum.gradients), all(packed.gradients)),
            `gradient, ${layout?.side ?? 'alone'}`,
          ).toBeLessThan(TOLERANCE);
        }
      }),
      { seed: 11, numRuns: 3, endOnFailure: true },
    );
  });
});

it('dropout is there: another step gives another embedding', async () => {
  const runner = runnerOf('bidirectional');
  const [text] = randomTexts([11], 3);
  const hiddenAt = async (dropout: { seed: number; step: number }): Promise<Float32Array> => {
    const pass = await runner.forward([single(text!, 0)], { keep: false, dropout });
    const hidden = (pass.tiles[0]!.hidden.data as Float32Array).slice();
    runner.release(pass);
    return hidden;
  };
  const hidden = await hiddenAt({ seed: 1, step: 1 });
  expect(await hiddenAt({ seed: 1, step: 1 })).toEqual(hidden);
  for (const other of [
    { seed: 1, step: 2 },
    { seed: 2, step: 1 },
  ])
    expect(relativeDifference(await hiddenAt(other), hidden)).toBeGreaterThan(1e-2);
  await runner.dispose();
});
