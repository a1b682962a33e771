import { z } from 'zod';

/** Losses of ranked examples (a query, its positive, negatives), and of scored pairs. */
export const rankedLosses = ['infoNce', 'distillKl', 'marginMse'] as const;
export const scoredLosses = ['cosent', 'angle'] as const;

/** Fewer numbers in use: a penalty on the unit vectors, for a sparse head. `flops` spreads what is used over the dimensions. */
export const sparsitySchema = z.strictObject({
  type: z.enum(['flops', 'l1']).default('flops'),
  weight: z.number().gt(0),
});

/** What the contrastive objective has beside the options of every stage. `batchTexts` counts examples. */
export const contrastiveShape = {
  /** Names of `data.sets`; all of them where it is left out. */
  sets: z.array(z.string().min(1)).min(1).optional(),
  /** 1 / temperature. There is no good default: 20 for NLI and STS, 50 for retrieval with LLM2Vec, 100 for E5. */
  scale: z.number().gt(0),
  sparsity: sparsitySchema.optional(),
  /** Of ranked examples: infoNce; distillKl or marginMse learn a teacher's scores. */
  loss: z.enum(rankedLosses).default('infoNce'),
  /** Of scored pairs. */
  scoredLoss: z.enum(scoredLosses).default('cosent'),
  /** Teacher scores are multiplied by this, to be in units of `scale` x cosine: the cosines of `lmvec mine` by `scale`. */
  teacherScale: z.number().gt(0).default(1),
  /** Softens student and teacher in distillKl. */
  temperature: z.number().gt(0).default(1),
  /** Whether the other examples of a batch are negatives. A set may say otherwise. */
  inBatch: z.boolean().default(true),
  /** Adds the loss from the positives to the queries, and halves the sum; not without in-batch negatives: there is no way back then. */
  symmetric: z.boolean().default(false),
  /** Of each example, at most; another choice in each epoch where there are more. */
  hardNegatives: z.int().min(0).default(1),
  /** Texts equal to the query or its positive, and texts of its class, are no negatives. */
  maskDuplicates: z.boolean().default(true),
  /** Documents whose cosine is above the positive's by more than this are no negatives; null: all are. */
  falseNegativeMargin: z.number().nullable().default(null),
  /** The loss at these lengths of the embedding too, each with its weight (default: 1 each). The whole length is always among them. */
  matryoshka: z
    .strictObject({
      dimensions: z.array(z.int().min(1)).min(1),
      weights: z.array(z.number().gt(0)).min(1).optional(),
    })
    .refine(({ dimensions, weights }) => weights === undefined || weights.length === dimensions.length, {
      path: ['weights'],
      message: 'as many weights as dimensions',
    })
    .optional(),
  /** Whether all examples of a batch come from one set. */
  sameSetBatches: z.boolean().default(true),
  /** Texts that go through the decoder at once: larger batches cost time, not memory (GradCache). All of them where it is left out. */
  chunkTexts: z.int().min(1).optional(),
  attentionDropout: z.number().min(0).lt(1).default(0),
};
