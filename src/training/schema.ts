import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { deviceChoices } from '../compiler/device.js';
import { computePrecisions } from '../compiler/precision.js';
import { memorySizeSchema } from '../config/sizes.js';
import { promptReferenceSchema, promptSchema } from '../data/schema.js';
import { attentionSchema, tuningSchema, type TuningConfig } from '../models/schema.js';
import { poolingSchema } from '../pooling/schema.js';
import { contrastiveShape, sparsitySchema } from './objectives/contrastive-schema.js';
import { notOfWord2Vec, word2vecShape } from './word2vec/schema.js';

/** What a block's forward pass keeps for its backward pass, from the fastest to the smallest. */
export const savePolicySchema = z.enum(['all', 'matmulOutputs', 'blockInputs']);
export type SavePolicy = z.output<typeof savePolicySchema>;

const share = z.number().min(0).lte(1);

/** What every objective has. Steps are optimizer steps. */
const stageShape = {
  maxSteps: z.int().min(1),
  /** The step at which the schedule would reach its end; `maxSteps` where it is left out. LLM2Vec stops long before. */
  scheduleSteps: z.int().min(1).optional(),
  batchTexts: z.int().min(1),
  /** A text is cut to this many tokens, its frame included. */
  maxTokens: z.int().min(2),
  learningRate: z.number().gt(0),
  warmupSteps: z.int().min(0).default(0),
  schedule: z.enum(['linear', 'constant', 'cosine']).default('linear'),
  weightDecay: z.number().min(0).default(0),
  betas: z.tuple([share, share]).default([0.9, 0.999]),
  epsilon: z.number().gt(0).default(1e-8),
  /** The gradient is scaled down to this norm; null: never. */
  clipNorm: z.number().gt(0).nullable().default(1),
  /** Batches whose gradients are added up before one optimizer step. */
  accumulate: z.int().min(1).default(1),
  savePolicy: savePolicySchema.optional(),
  /** Reproduce LLM2Vec where it has a known defect. */
  compat: z.literal('llm2vec').optional(),
  /** These override the run's own for this stage. */
  attention: attentionSchema.optional(),
  pooling: poolingSchema.optional(),
  prompt: promptReferenceSchema.optional(),
  tuning: tuningSchema.optional(),
};

/** An example is a piece of `maxTokens`, cut from the joined texts of a document; so too for `mntp`. */
const causalLmSchema = z.strictObject({
  objective: z.literal('causalLm'),
  ...stageShape,
  attentionDropout: z.number().min(0).lt(1).default(0),
});

/** Masked next-token prediction: the logits at i-1 predict the masked token i. */
const mntpSchema = z.strictObject({
  objective: z.literal('mntp'),
  ...stageShape,
  attentionDropout: z.number().min(0).lt(1).default(0),
  maskRatio: z.number().gt(0).lte(1).default(0.2),
  /** The literal token that hides another; `eos` stands for the tokenizer's end token. */
  maskToken: z.string().min(1).default('_'),
  /** Of the chosen tokens: how many become the mask token, a random token, or stay. BERT's 80/10/10. */
  replacement: z
    .strictObject({ mask: share, random: share, keep: share })
    .refine(({ mask, random, keep }) => Math.abs(mask + random + keep - 1) < 1e-6, {
      message: 'shares that add up to 1',
    })
    .default({ mask: 0.8, random: 0.1, keep: 0.1 }),
});

/** Each text twice under different dropout; cross-entropy of scale x cosine over the batch. */
const simcseSchema = z.strictObject({
  objective: z.literal('simcse'),
  ...stageShape,
  batchTexts: z.int().min(2),
  /** The second view's frame (PromptBERT, Jiang et al. 2022: two templates make two views); `prompt` where it is left out. */
  secondPrompt: promptSchema.optional(),
  attentionDropout: z.number().min(0).lt(1).default(0.3),
  /** 1 / temperature. */
  scale: z.number().gt(0).default(20),
  sparsity: sparsitySchema.optional(),
});

/** Queries, positives and negatives, or scored pairs, from `data.sets`. */
const contrastiveSchema = z.strictObject({
  objective: z.literal('contrastive'),
  ...stageShape,
  ...contrastiveShape,
});

/** Word vectors: gradient descent on the rows of two tables; a learning rate that falls to 0 (Mikolov et al. 2013). */
const word2vecSchema = z.strictObject({
  objective: z.literal('word2vec'),
  maxSteps: stageShape.maxSteps,
  scheduleSteps: stageShape.scheduleSteps,
  /** Texts of a step: one after the other, at one learning rate. */
  batchTexts: stageShape.batchTexts,
  /** A longer text is trained on in pieces of this many words. */
  maxTokens: z.int().min(2).default(10_000),
  learningRate: z.number().gt(0).default(0.025),
  warmupSteps: stageShape.warmupSteps,
  schedule: stageShape.schedule,
  ...word2vecShape,
  ...notOfWord2Vec,
});

export const stageSchema = z
  .discriminatedUnion('objective', [
    causalLmSchema,
    mntpSchema,
    simcseSchema,
    contrastiveSchema,
    word2vecSchema,
  ])
  .refine((stage) => stage.warmupSteps < (stage.scheduleSteps ?? stage.maxSteps), {
    path: ['warmupSteps'],
    message: 'fewer than scheduleSteps (maxSteps where that is left out)',
  })
  .refine((stage) => stage.scheduleSteps === undefined || stage.scheduleSteps >= stage.maxSteps, {
    path: ['scheduleSteps'],
    message: 'at least maxSteps',
  });
export type StageConfig = Readonly<z.output<typeof stageSchema>>;
export type CausalLmStageConfig = Readonly<z.output<typeof causalLmSchema>>;
export type MntpStageConfig = Readonly<z.output<typeof mntpSchema>>;
export type SimcseStageConfig = Readonly<z.output<typeof simcseSchema>>;
export type ContrastiveStageConfig = Readonly<z.output<typeof contrastiveSchema>>;
export type Word2VecStageConfig = Readonly<z.output<typeof word2vecSchema>>;
/** Stages that run the decoder's blocks. */
export type DecoderStageConfig = Exclude<StageConfig, Word2VecStageConfig>;

/** What a stage trains of the model. */
export function tuningOf(stage: StageConfig, runTuning: TuningConfig): TuningConfig {
  return stage.objective === 'word2vec' ? { type: 'full' } : (stage.tuning ?? runTuning);
}

/** Names of stages become parts of file names. */
const stageName = z.string().regex(/^[A-Za-z][A-Za-z0-9_]*$/, {
  message: 'a stage name of letters, digits and _ that begins with a letter',
});

/** In this order; each stage merges the adapter of the one before. */
export const stagesSchema = z
  .record(stageName, stageSchema)
  .refine((stages) => Object.keys(stages).length > 0, { message: 'at least one stage' });
export type StagesConfig = Readonly<Record<string, StageConfig>>;

/** How the run is run: what does not change what is learned, and the seed. */
export const trainSchema = z.strictObject({
  seed: z.int().min(0).max(0xffff_ffff).default(42),
  /** `auto`: CUDA where ONNX Runtime's provider is installed and works, else the CPU. */
  device: z.enum(deviceChoices).default('auto'),
  /** Of the blocks' matrix products; norms, softmax, losses and the trained weights stay float32. float16 scales its gradients. */
  precision: z.enum(computePrecisions).default('float32'),
  /** A budget, e.g. 4GB: the fastest save policy that fits is taken. */
  memory: memorySizeSchema.optional(),
  /** Takes the choice from `memory`. */
  savePolicy: savePolicySchema.optional(),
  checkpointEverySteps: z.int().min(1).default(100),
  logEverySteps: z.int().min(1).default(10),
  threads: z.int().min(1).max(1024).default(availableParallelism),
});
export type TrainConfig = Readonly<z.output<typeof trainSchema>>;
