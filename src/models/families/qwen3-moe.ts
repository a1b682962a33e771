import { z } from 'zod';
import { defineFamily } from './family.js';
import { llamaFields, prepareLlama, size } from './fields.js';
import { llamaLike } from './llama-like.js';
import { headNorms } from './qwen.js';
import { windowed } from './windows.js';
import { isDenseStep, mixtureOfExperts, mlpExpertNames, mlpExperts, sparseFields } from './mixture.js';

/** Qwen3-MoE (Yang et al. 2025): norms of each query and key head, experts without a shared one. */
export const qwen3Moe = defineFamily({
  modelType: 'qwen3_moe',
  models: 'Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder-30B-A3B',
  special: 'experts, dense layers by config, q/k norm by head, explicit head_dim',
  gguf: 'qwen3moe',
  names: mlpExpertNames,
  schema: z.object({
    ...llamaFields,
    ...sparseFields,
    num_experts: size.default(128),
    num_experts_per_tok: size.default(8),
    moe_intermediate_size: size.default(768),
    use_sliding_window: z.boolean().default(false),
    sliding_window: z.int().min(0).nullable().default(4096),
  }),
  prepare: (raw) => prepareLlama({ ...raw, num_experts: raw['num_experts'] ?? raw['num_local_experts'] }),
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
      },
      (layer) => isDenseStep(config, layer),
    );
    const window = config.use_sliding_window ? config.sliding_window : null;
    return llamaLike(config, {
      ...mixture,
      attention: headNorms(config),
      layer: (layer) => ({ ...mixture.layer(layer), ...windowed(window === 0 ? null : window) }),
    });
  },
});
