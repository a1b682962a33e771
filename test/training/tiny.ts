import { fileURLToPath } from 'node:url';
import type { ComputePrecision } from '../../src/compiler/precision.js';
import type { TokenizedText } from '../../src/data/batch.js';
import { loadDecoder, type Decoder } from '../../src/models/decoder.js';
import { tuningSchema, type AttentionMode, type TuningConfig } from '../../src/models/schema.js';
import { openDecoder } from '../../src/models/weights/index.js';
import { poolingSchema, type PoolingConfig } from '../../src/pooling/schema.js';
import { randomStream } from '../../src/shared/random.js';
import { stageFactory } from '../../src/training/stage.js';
import type { StageFactoryOptions, TrainingData } from '../../src/training/stage-options.js';
import { stageSchema, type DecoderStageConfig, type StageConfig } from '../../src/training/schema.js';
import type { StageRunner } from '../../src/training/stage-runner.js';

/** A random Llama of two layers and 72 tokens. */
export type Variant = 'base' | 'tied' | 'bias';

export const goldenFolder = (variant: Variant): string =>
  fileURLToPath(new URL(`../golden/llama/${variant}`, import.meta.url));

export async function tinyDecoder(variant: Variant = 'base'): Promise<Decoder> {
  const source = await openDecoder(goldenFolder(variant));
  try {
    return await loadDecoder(source);
  } finally {
    await source.weights.close();
  }
}

/** Random token ids; every `hole`-th token is left out of the pooling, but never all of a text. */
export function randomTexts(lengths: readonly number[], seed: number, hole = 0): TokenizedText[] {
  const random = randomStream(seed);
  return lengths.map((length) => ({
    ids: Int32Array.from({ length }, () => 2 + random.integer(70)),
    pool: Uint8Array.from({ length }, (_, i) => (hole > 0 && i > 0 && random.integer(hole) === 0 ? 0 : 1)),
  }));
}

export const SENTENCES = [
  'the cat and the other cat then sat on that mat',
  'a dog',
  'the sky is blue, and 42 birds fly.',
  'one two three four',
  'what then',
  'that mat is the best of 7 mats.',
];

/** Fills arrays with normal numbers: adapters and poolings whose zeros would hide an error. */
export function randomise(arrays: Iterable<Float32Array>, seed: number, deviation = 0.1): void {
  const random = randomStream(seed);
  for (const values of arrays)
    for (let i = 0; i < values.length; i++) values[i] = deviation * random.normal();
}

export function lora(options: Record<string, unknown> = {}): TuningConfig {
  return tuningSchema.parse({ type: 'lora', rank: 3, alpha: 6, dropout: 0, ...options });
}

export const FULL: TuningConfig = { type: 'full' };

export function pooling(type: PoolingConfig['type'], more: Record<string, unknown> = {}): PoolingConfig {
  return poolingSchema.parse(
    type === 'latentAttention'
      ? { type, latents: 5, heads: 2, headDimension: 6, feedForwardMultiple: 2, ...more }
      : { type, ...more },
  );
}

/** A stage without dropout, clipping and warm-up, whose first moments are the gradients: beta1 is 0. */
export function bareStage(options: Record<string, unknown>): DecoderStageConfig {
  return stageSchema.parse({
    objective: 'simcse',
    maxSteps: 10,
    batchTexts: 4,
    maxTokens: 32,
    learningRate: 1e-3,
    schedule: 'constant',
    clipNorm: null,
    betas: [0, 0.999],
    attentionDropout: 0,
    ...options,
  }) as DecoderStageConfig;
}

export interface TinyStageOptions {
  readonly decoder: Decoder;
  readonly stage: StageConfig;
  readonly tuning?: TuningConfig;
  readonly attention?: AttentionMode;
  readonly pooling?: PoolingConfig;
  readonly sentences?: readonly string[];
  readonly seed?: number;
  readonly previous?: Parameters<ReturnType<typeof stageFactory>>[0]['previous'];
  readonly createObjective?: StageFactoryOptions['createObjective'];
  readonly exampleSets?: TrainingData['exampleSets'];
  readonly computePrecision?: ComputePrecision;
}

export function tinyStage({
  decoder,
  stage,
  sentences = SENTENCES,
  previous = [],
  createObjective,
  ...given
}: TinyStageOptions): Promise<StageRunner> {
  const create = stageFactory({
    decoder,
    recipe: {
      attention: given.attention ?? 'bidirectional',
      window: 'keep',
      pooling: given.pooling ?? pooling('mean'),
      maxTokens: 64,
    },
    tuning: given.tuning ?? lora(),
    seed: given.seed ?? 7,
    threads: 1,
    data: {
      sentences,
      documents: () => linesOf(sentences),
      ...(given.exampleSets === undefined ? {} : { exampleSets: given.exampleSets }),
    },
    save: () => Promise.resolve(),
    ...(createObjective === undefined ? {} : { createObjective }),
    ...(given.computePrecision === undefined ? {} : { computePrecision: given.computePrecision }),
  });
  return create({ name: 'stage', stage, previous });
}

// eslint-disable-next-line @typescript-eslint/require-await
async function* linesOf(sentences: readonly string[]): AsyncIterable<string> {
  for (const sentence of sentences) yield* [sentence, ''];
}

/** |actual - expected| / |expected| */
export function relativeDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += ((actual[i] as number) - (expected[i] as number)) ** 2;
    norm += (expected[i] as number) ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}
