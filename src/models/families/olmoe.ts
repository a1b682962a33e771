import { z } from 'zod';
import { defineFamily } from './family.js';
import { llamaFields, positive, prepareLlama, size } from './fields.js';
import { llamaLike } from './llama-like.js';
import { mixtureOfExperts, mlpExpertNames, mlpExperts } from './mixture.js';

/** OLMoE (Muennighoff et al. 2024): norms of all queries and all keys together, weights of experts not renormalised. */
export const olmoe = defineFamily({
  modelType: 'olmoe',
  models: 'OLMoE-1B-7B',
  special: 'experts in every layer, q/k norm over all heads, clipped q,k,v by config',
  gguf: 'olmoe',
  names: mlpExpertNames,
  schema: z.object({
    ...llamaFields,
    rms_norm_eps: positive.default(1e-5),
    max_position_embeddings: size.default(4096),
    num_experts: size.default(64),
    num_experts_per_tok: size.default(8),
    norm_topk_prob: z.boolean().default(false),
    clip_qkv: positive.optional(),
  }),
  prepare: (raw) => prepareLlama({ ...raw, num_experts: raw['num_experts'] ?? raw['num_local_experts'] }),
  describe: (config) => {
    const norm = (name: string, heads: number) =>
      ({ kind: 'rms', name, width: heads * config.head_dim, eps: config.rms_norm_eps }) as const;
    return llamaLike(config, {
      ...mixtureOfExperts(config, {
        ...mlpExperts,
        count: config.num_experts,
        perToken: config.num_experts_per_tok,
        renormalise: config.norm_topk_prob,
        width: config.intermediate_size,
        activation: config.hidden_act,
      }),
      attention: {
        queryNorm: norm('self_attn.q_norm', config.num_attention_heads),
        keyNorm: norm('self_attn.k_norm', config.num_key_value_heads),
        ...(config.clip_qkv === undefined ? {} : { clip: config.clip_qkv }),
      },
    });
  },
});
