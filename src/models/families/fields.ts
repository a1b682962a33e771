import { z } from 'zod';
import { activations, type Activation } from '../decoder-config.js';
import { ropeSchema } from '../rope-config.js';
import type { JsonObject } from '../weights/types.js';

/** A length of an axis. */
export const size = z
  .int()
  .min(1)
  .max(1 << 24);
export const positive = z.number().positive();
/** Other names of an activation in transformers. */
const sameActivations: Readonly<Record<string, Activation>> = {
  swish: 'silu',
  gelu_fast: 'gelu_new',
  gelu_accurate: 'gelu_new',
  gelu_python: 'gelu',
  gelu_python_tanh: 'gelu_pytorch_tanh',
};
export const activation = z.preprocess(
  (name) => (typeof name === 'string' && Object.hasOwn(sameActivations, name) ? sameActivations[name] : name),
  z.enum(activations),
);
/** One of `layer_types`. */
export const layerType = z.enum(['full_attention', 'sliding_attention']);

/** The keys that Llama and its kin share, as transformers names them. */
export const llamaFields = {
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: z.int().min(1).max(1024),
  num_attention_heads: size,
  num_key_value_heads: size,
  head_dim: size,
  vocab_size: size,
  max_position_embeddings: size.default(2048),
  rms_norm_eps: positive.default(1e-6),
  hidden_act: activation.default('silu'),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  rope: ropeSchema,
};

/** Derived keys filled in: heads, head size, rotation. */
export function prepareLlama(raw: JsonObject): JsonObject {
  const heads = raw['num_attention_heads'];
  const hidden = raw['hidden_size'];
  const headDim =
    raw['head_dim'] ??
    (typeof hidden === 'number' && typeof heads === 'number' ? Math.floor(hidden / heads) : undefined);
  return {
    ...raw,
    num_key_value_heads: raw['num_key_value_heads'] ?? heads,
    head_dim: headDim,
    rope: ropeOf(raw, { headDim }),
  };
}

export interface RopeDefaults {
  readonly headDim: unknown;
  readonly theta?: number;
  /** Share of a head's channels that is rotated. */
  readonly partial?: number;
}

/**
 * The rotation in `ropeSchema`'s form. transformers 5: `rope_parameters`; 4: `rope_theta`, `partial_rotary_factor` and `rope_scaling`
 * (whose type was once called `type`).
 */
export function ropeOf(raw: JsonObject, defaults: RopeDefaults): JsonObject {
  return ropeWith(raw, raw['rope_parameters'] ?? raw['rope_scaling'], defaults);
}

/** As `ropeOf`, with the parameters at hand. */
export function ropeWith(raw: JsonObject, given: unknown, defaults: RopeDefaults): JsonObject {
  const { headDim, theta = 10000, partial = 1 } = defaults;
  const named = (typeof given === 'object' && given !== null ? given : {}) as JsonObject;
  const share = named['partial_rotary_factor'] ?? raw['partial_rotary_factor'] ?? partial;
  const dims =
    typeof headDim === 'number' && typeof share === 'number' ? Math.floor(headDim * share) : undefined;
  const trained = raw['max_position_embeddings'];
  const original =
    raw['original_max_position_embeddings'] ?? named['original_max_position_embeddings'] ?? trained;
  return {
    rope_theta: raw['rope_theta'] ?? theta,
    ...Object.fromEntries(Object.entries(named).filter(([, value]) => value !== null)),
    rope_type: named['rope_type'] ?? named['type'] ?? 'default',
    dims,
    original_max_position_embeddings: original,
    max_position_embeddings: trained,
    factor:
      named['factor'] ??
      (typeof trained === 'number' && typeof original === 'number' ? trained / original : undefined),
  };
}
