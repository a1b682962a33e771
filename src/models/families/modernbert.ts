import { z } from 'zod';
import type { BlockConfig, NormConfig } from '../decoder-config.js';
import { ropeSchema } from '../rope-config.js';
import type { JsonObject } from '../weights/types.js';
import { encoderNames } from './encoder-names.js';
import { defineFamily } from './family.js';
import { activation, layerType, positive, ropeWith, size } from './fields.js';
import { slidingLayer, windowed } from './windows.js';

/** transformers 5 nests the rotations by layer type, 4 has `global_rope_theta` and `local_rope_theta`. */
function prepareModernBert(raw: JsonObject): JsonObject {
  const { hidden_size: hidden, num_attention_heads: heads } = raw;
  const headDim =
    typeof hidden === 'number' && typeof heads === 'number' ? Math.floor(hidden / heads) : undefined;
  const nested = (raw['rope_parameters'] ?? {}) as JsonObject;
  const rope = (type: string, base: string, theta: number): JsonObject =>
    ropeWith({ ...raw, rope_theta: raw[base] }, nested[type] ?? raw['rope_scaling'], { headDim, theta });
  return {
    ...raw,
    globalRope: rope('full_attention', 'global_rope_theta', 160000),
    localRope: rope('sliding_attention', 'local_rope_theta', 10000),
  };
}

/** ModernBERT (Warner et al. 2024): pre-norm, gated GELU, two local layers after each global one, no biases; the first block's input is normed once. */
export const modernBert = defineFamily({
  modelType: 'modernbert',
  models: 'ModernBERT, GTE-ModernBERT',
  special:
    'encoder: one global layer to two local ones, each kind with its own rotation; gated GELU, norms without bias',
  names: encoderNames('model.', ['embeddings', 'layers', 'final_norm']),
  biasKeys: ['attention_bias', 'mlp_bias'],
  prepare: prepareModernBert,
  schema: z.object({
    vocab_size: size,
    hidden_size: size,
    intermediate_size: size,
    num_hidden_layers: z.int().min(1).max(1024),
    num_attention_heads: size,
    hidden_activation: activation.default('gelu'),
    max_position_embeddings: size.default(8192),
    norm_eps: positive.default(1e-5),
    norm_bias: z.boolean().default(false),
    attention_bias: z.boolean().default(false),
    mlp_bias: z.boolean().default(false),
    local_attention: size.default(128),
    global_attn_every_n_layers: size.default(3),
    layer_types: z.array(layerType).optional(),
    globalRope: ropeSchema,
    localRope: ropeSchema,
  }),
  describe: (config) => {
    const { hidden_size: hidden, num_attention_heads: heads } = config;
    const headDim = Math.floor(hidden / heads);
    const norm = (name: string): NormConfig => ({
      kind: config.norm_bias ? 'layer' : 'layerWithoutBias',
      name,
      width: hidden,
      eps: config.norm_eps,
    });
    const first: BlockConfig = {
      attention: {
        heads,
        keyHeads: heads,
        headDim,
        projection: { kind: 'joined', weight: 'attn.Wqkv' },
        inputBias: config.attention_bias,
        output: 'attn.Wo',
        outputBias: config.attention_bias,
        scale: 1 / Math.sqrt(headDim),
      },
      feedForward: {
        kind: 'joinedGate',
        gateUp: 'mlp.Wi',
        down: 'mlp.Wo',
        width: config.intermediate_size,
        bias: config.mlp_bias,
        activation: config.hidden_activation,
      },
      norms: { feedForwardInput: norm('mlp_norm') },
      parallel: false,
      layout: 'outIn',
    };
    const later: BlockConfig = { ...first, norms: { ...first.norms, attentionInput: norm('attn_norm') } };
    const isLocal = (layer: number): boolean =>
      slidingLayer(config, (i) => i % config.global_attn_every_n_layers !== 0, layer);
    return {
      encoder: true,
      hidden_size: hidden,
      num_hidden_layers: config.num_hidden_layers,
      num_attention_heads: heads,
      num_key_value_heads: heads,
      head_dim: headDim,
      vocab_size: config.vocab_size,
      max_position_embeddings: config.max_position_embeddings,
      tie_word_embeddings: true,
      embedding: { weight: 'embeddings.tok_embeddings.weight', width: hidden, norm: norm('embeddings.norm') },
      blocks: 'layers.',
      structures: [first, later],
      layers: Array.from({ length: config.num_hidden_layers }, (_, layer) => ({
        structure: layer === 0 ? 0 : 1,
        // `local_attention` counts both sides.
        ...(isLocal(layer)
          ? { rope: 'local', ...windowed(Math.floor(config.local_attention / 2)) }
          : { rope: 'global' }),
      })),
      ropes: { global: config.globalRope, local: config.localRope },
      output: { norm: norm('final_norm'), width: hidden },
    };
  },
});
