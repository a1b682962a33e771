import { z } from 'zod';
import { nearest, userError } from '../shared/errors.js';

/** How positions beyond the trained length are rotated; names of transformers 5's `rope_parameters`. */
const ropeSchema = z.discriminatedUnion('rope_type', [
  z.object({ rope_type: z.literal('default'), rope_theta: z.number().positive() }),
  z.object({
    rope_type: z.literal('linear'),
    rope_theta: z.number().positive(),
    factor: z.number().positive(),
  }),
  z.object({
    rope_type: z.literal('llama3'),
    rope_theta: z.number().positive(),
    factor: z.number().positive(),
    low_freq_factor: z.number().positive(),
    high_freq_factor: z.number().positive(),
    original_max_position_embeddings: z.int().positive(),
  }),
]);
export type RopeConfig = Readonly<z.output<typeof ropeSchema>>;

const size = z
  .int()
  .min(1)
  .max(1 << 24);

/** The keys of a Llama `config.json` that change what is computed, as transformers names them. */
const llamaSchema = z.object({
  model_type: z.literal('llama'),
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: z.int().min(1).max(1024),
  num_attention_heads: size,
  num_key_value_heads: size,
  head_dim: size,
  vocab_size: size,
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive(),
  hidden_act: z.literal('silu'),
  attention_bias: z.boolean(),
  mlp_bias: z.boolean(),
  tie_word_embeddings: z.boolean(),
  rope: ropeSchema,
});

export type DecoderConfig = Readonly<z.output<typeof llamaSchema>>;

/** Model types that can be loaded, for errors and the support table. */
export const supportedModelTypes: readonly string[] = ['llama'];

/**
 * Reads the raw `config.json` (of transformers 4 or 5) of a decoder.
 *
 * @param where the file, for errors
 * @throws UserError naming an unsupported architecture, or every key that is missing or wrong
 */
export function parseDecoderConfig(raw: Readonly<Record<string, unknown>>, where: string): DecoderConfig {
  const type = raw['model_type'];
  if (typeof type !== 'string' || !supportedModelTypes.includes(type)) {
    const near =
      typeof type === 'string'
        ? (nearest(type, supportedModelTypes) ?? supportedModelTypes[0])
        : supportedModelTypes[0];
    throw userError({
      what: 'unsupported model_type',
      where,
      got: JSON.stringify(type),
      expected: supportedModelTypes.join(', '),
      hint: `the nearest supported family is ${near ?? ''}`,
    });
  }
  const heads = raw['num_attention_heads'];
  const hidden = raw['hidden_size'];
  const parsed = llamaSchema.safeParse({
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: false,
    hidden_act: 'silu',
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    ...withoutNull(raw),
    num_key_value_heads: raw['num_key_value_heads'] ?? heads,
    head_dim:
      raw['head_dim'] ??
      (typeof hidden === 'number' && typeof heads === 'number' ? Math.floor(hidden / heads) : undefined),
    rope: ropeOf(raw),
  });
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw userError({ what: `unusable configuration of a ${type} model`, where, got: problems.join('; ') });
  }
  const config = parsed.data;
  if (config.num_attention_heads % config.num_key_value_heads !== 0) {
    throw userError({
      what: 'num_attention_heads is not a multiple of num_key_value_heads',
      where,
      got: `${config.num_attention_heads} and ${config.num_key_value_heads}`,
    });
  }
  if (config.head_dim % 2 !== 0)
    throw userError({ what: 'head_dim must be even', where, got: String(config.head_dim) });
  return config;
}

/** transformers 5: `rope_parameters`; 4: `rope_theta` and `rope_scaling` (whose type was once called `type`). */
function ropeOf(raw: Readonly<Record<string, unknown>>): unknown {
  const parameters = raw['rope_parameters'];
  if (typeof parameters === 'object' && parameters !== null) {
    return { rope_type: 'default', rope_theta: raw['rope_theta'] ?? 10000, ...parameters };
  }
  const base = { rope_theta: raw['rope_theta'] ?? 10000 };
  const scaling = raw['rope_scaling'];
  if (typeof scaling !== 'object' || scaling === null) return { ...base, rope_type: 'default' };
  const named = scaling as Readonly<Record<string, unknown>>;
  return { ...base, ...named, rope_type: named['rope_type'] ?? named['type'] ?? 'default' };
}

function withoutNull(raw: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== null));
}
