import { z } from 'zod';

const layers = z.array(z.int()).min(2).readonly();

/**
 * Which hidden state is pooled: -1 the last layer's (after the final norm), -2 the one before, 0 the input embeddings. Several: their average.
 * `learned`: a mix with trained shares.
 */
const layer = z
  .union([z.int(), layers, z.strictObject({ learned: z.union([z.literal('all'), layers]) })])
  .default(-1);
export type LayerChoice = Readonly<z.output<typeof layer>>;

const dimensions = z
  .int()
  .min(1)
  .max(1 << 20);

/** What becomes of the pooled vector. */
const head = z
  .discriminatedUnion('type', [
    /** A trained matrix to another number of dimensions. */
    z.strictObject({
      type: z.literal('dense'),
      dimensions,
      bias: z.boolean().default(true),
      activation: z.enum(['none', 'tanh']).default('none'),
    }),
    /** The first numbers only: for models that were trained for it (Matryoshka). */
    z.strictObject({ type: z.literal('truncate'), dimensions }),
    /** Few numbers that are not zero: the `keep` largest, after a trained matrix to `dimensions` where that is given. */
    z.strictObject({
      type: z.literal('sparse'),
      keep: z.int().min(1),
      dimensions: dimensions.optional(),
      /** `relu`: negative numbers become zero; `none`: the largest by size, with their signs. */
      gate: z.enum(['relu', 'none']).default('relu'),
    }),
  ])
  .optional();
export type HeadConfig = Readonly<NonNullable<z.output<typeof head>>>;

/** What the routers of a mixture of experts say of a text, beside its hidden state (MoEE). */
const routing = z
  .strictObject({
    /** hs: the hidden state alone; rw: the routing alone; concat: both; sum: their cosines are added, the routing's times `alpha`. */
    combine: z.enum(['hs', 'rw', 'concat', 'sum']).default('sum'),
    alpha: z.number().gt(0).default(1),
    /** `softmax`: shares of the experts; `logits`: as the original takes them of OLMoE and Qwen. */
    weights: z.enum(['softmax', 'logits']).default('softmax'),
    /** Which mixture-of-experts layers, counted among themselves; -1 the last. */
    layers: z.union([z.literal('all'), z.array(z.int()).min(1).readonly()]).default('all'),
  })
  .optional();
export type RoutingConfig = Readonly<NonNullable<z.output<typeof routing>>>;

/** Whether every number is brought to mean 0 and deviation 1, by statistics saved with the model (`lmvec calibrate`). */
const standardise = z.boolean().optional();

const shared = { layer, head, routing, standardise };

const plain = <T extends string>(type: T) => z.strictObject({ type: z.literal(type), ...shared });

/** From the hidden states of a text to one vector. */
export const poolingSchema = z.discriminatedUnion('type', [
  plain('first'),
  plain('mean'),
  plain('weightedMean'),
  z.strictObject({
    type: z.literal('last'),
    ...shared,
    /**
     * Continues the text greedily: the average of the hidden states that make the first so many tokens of the answer, or those before its end
     * (InBedder's avg_gen). 1: the last token's, which makes the first. Causal decoders, without training and export.
     */
    generate: z.int().min(1).max(512).optional(),
  }),
  plain('eos'),
  /** So many new tokens behind every text, whose embeddings are trained: the last of them, or their mean (ChatRetriever). */
  z.strictObject({
    type: z.literal('specialTokens'),
    layer,
    head,
    standardise,
    tokens: z.int().min(1).max(64).default(3),
    aggregate: z.enum(['last', 'mean']).default('last'),
  }),
  /** A small trained transformer over two layers of a decoder (LMORT); the decoder itself is left as it is where `tuning` is `none`. */
  z.strictObject({
    type: z.literal('lmort'),
    /** The layer that aligns best, then the most uniform one: `lmvec layers` measures them. */
    layer: z.tuple([z.int(), z.int()]).readonly(),
    head,
    standardise,
    blocks: z.int().min(1).max(64).default(3),
    heads: z.int().min(1).default(8),
    /** Width of one head; the hidden size divided by the heads where it is left out. */
    headDimension: z.int().min(1).optional(),
    /** Width of the feed-forward layer as a multiple of the hidden size. */
    feedForwardMultiple: z.number().gt(0).default(4),
    aggregate: z.enum(['mean', 'last']).default('mean'),
  }),
  /** One more trained transformer layer and a mean: what NV-Embed compares latent attention with. */
  z.strictObject({
    type: z.literal('selfAttention'),
    /** One layer, or several, averaged. */
    layer: z.union([z.int(), layers]).default(-1),
    head,
    standardise,
    heads: z.int().min(1).default(8),
    /** Width of one head; the hidden size divided by the heads where it is left out. */
    headDimension: z.int().min(1).optional(),
    /** Width of the feed-forward layer as a multiple of the hidden size. */
    feedForwardMultiple: z.number().gt(0).default(4),
  }),
  z.strictObject({
    type: z.literal('latentAttention'),
    ...shared,
    /** Rows of the trained latent array. */
    latents: z.int().min(1).default(512),
    heads: z.int().min(1).default(8),
    /** Width of one head; the hidden size where it is left out, as NV-Embed's release has it. */
    headDimension: z.int().min(1).optional(),
    /** `geglu` is NV-Embed's released code, `gelu` its paper. */
    feedForward: z.enum(['geglu', 'gelu']).default('geglu'),
    /** Width of the feed-forward layer as a multiple of the hidden size. */
    feedForwardMultiple: z.number().gt(0).default(4),
    aggregate: z.enum(['mean', 'eos']).default('mean'),
  }),
]);
export type PoolingConfig = Readonly<z.output<typeof poolingSchema>>;
