import { z } from 'zod';

/** Which hidden state is pooled: -1 the last layer's (after the final norm), -2 the one before, 0 the input embeddings. */
const layer = z.int().default(-1);

const plain = <T extends string>(type: T) => z.strictObject({ type: z.literal(type), layer });

/** From the hidden states of a text to one vector. */
export const poolingSchema = z.discriminatedUnion('type', [
  plain('first'),
  plain('mean'),
  plain('weightedMean'),
  plain('last'),
  plain('eos'),
  z.strictObject({
    type: z.literal('latentAttention'),
    layer,
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
