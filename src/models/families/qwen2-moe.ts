import { z } from 'zod';
import { defineFamily } from './family.js';
import { layerType, llamaFields, prepareLlama, size } from './fields.js';
import { llamaLike } from './llama-like.js';
import {
  gatedPart,
  isDenseStep,
  mixtureOfExperts,
  mlpExpertNames,
  mlpExperts,
  sparseFields,
} from './mixture.js';

/** Qwen1.5-MoE and Qwen2-MoE (Yang et al. 2024): biases on queries, keys and values; a shared expert with a gate of its own. */
export const qwen2Moe = defineFamily({
  modelType: 'qwen2_moe',
  models: 'Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B',
  special: 'experts and a shared expert with a gate, dense layers by config, q,k,v bias',
  gguf: 'qwen2moe',
  names: mlpExpertNames,
  schema: z.object({
    ...llamaFields,
    ...sparseFields,
    num_experts: size.default(60),
    num_experts_per_tok: size.default(4),
    moe_intermediate_size: size.default(1408),
    shared_expert_intermediate_size: size.default(5632),
    qkv_bias: z.boolean().default(true),
    use_sliding_window: z.boolean().default(false),
    sliding_window: z.int().min(0).nullable().default(4096),
    max_window_layers: z.int().min(0).default(28),
    layer_types: z.array(layerType).optional(),
  }),
  prepare: prepareLlama,
  describe: (config) => {
    const mixture = mixtureOfExperts(
      config,
      {
        ...mlpExperts,
        count: config.num_experts,
        perToken: config.num_experts_per_tok,
        renormalise: config.norm_topk_prob,
        width: config.moe_intermediate_size,
        activation: config.hidden_act,
        shared: {
          part: gatedPart('mlp.shared_expert.', config, config.shared_expert_intermediate_size),
          gate: 'mlp.shared_expert_gate',
        },
      },
      (layer) => isDenseStep(config, layer),
    );
    const { use_sliding_window: slides, max_window_layers: most, layer_types: types } = config;
    // transformers 5: without a list every other of the first layers slides.
    const isSliding = (layer: number): boolean =>
      slides &&
      (types === undefined ? layer % 2 === 0 && layer < most : types[layer] === 'sliding_attention');
    const window = config.sliding_window;
    return llamaLike(config, {
      ...mixture,
      attention: { inputBias: config.qkv_bias, outputBias: false },
      layer: (layer) => ({ ...mixture.layer(layer), ...(isSliding(layer) && window ? { window } : {}) }),
    });
  },
});
