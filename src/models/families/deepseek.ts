import { z } from 'zod';
import { defineFamily } from './family.js';
import { llamaFields, prepareLlama, size } from './fields.js';
import { llamaLike } from './llama-like.js';
import { gatedPart, mixtureOfExperts, mlpExpertNames, mlpExperts } from './mixture.js';

/** DeepSeek-MoE (Dai et al. 2024): Llama with fine-grained experts beside shared ones without a gate, after a dense first layer. */
export const deepseek = defineFamily({
  modelType: 'deepseek',
  models: 'DeepSeek-MoE 16B',
  special: 'fine-grained experts and shared experts, dense first layers',
  gguf: 'deepseek',
  names: mlpExpertNames,
  schema: z.object({
    ...llamaFields,
    moe_intermediate_size: size.default(1407),
    n_routed_experts: size,
    n_shared_experts: size.optional(),
    num_experts_per_tok: size,
    first_k_dense_replace: z.int().min(0).default(0),
    moe_layer_freq: z.int().min(1).default(1),
    norm_topk_prob: z.boolean().default(false),
    scoring_func: z.literal('softmax').default('softmax'),
  }),
  prepare: prepareLlama,
  describe: (config) => {
    const { n_shared_experts: shared, moe_intermediate_size: width } = config;
    return llamaLike(
      config,
      mixtureOfExperts(
        config,
        {
          ...mlpExperts,
          count: config.n_routed_experts,
          perToken: config.num_experts_per_tok,
          // As in the reference: one expert keeps its probability.
          renormalise: config.norm_topk_prob && config.num_experts_per_tok > 1,
          width,
          activation: config.hidden_act,
          // Stored as one part of their joint width.
          ...(shared === undefined
            ? {}
            : { shared: { part: gatedPart('mlp.shared_experts.', config, width * shared) } }),
        },
        (layer) => layer < config.first_k_dense_replace || layer % config.moe_layer_freq !== 0,
      ),
    );
  },
});
