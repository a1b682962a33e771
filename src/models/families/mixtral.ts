import { z } from 'zod';
import { defineFamily } from './family.js';
import { llamaFields, prepareLlama, positive, size } from './fields.js';
import { llamaLike, llamaNames } from './llama-like.js';
import { mixtralExperts } from '../weights/expert-names.js';
import { mixtureOfExperts, namesOfExperts } from './mixture.js';
import { windowed } from './windows.js';

/** Mixtral (Jiang et al. 2024): Mistral with experts, the weights of a token's experts renormalised. */
export const mixtral = defineFamily({
  modelType: 'mixtral',
  models: 'Mixtral 8x7B, 8x22B',
  special: 'experts in every layer, sliding window by config',
  gguf: 'llama',
  names: { ...llamaNames, experts: mixtralExperts },
  schema: z.object({
    ...llamaFields,
    rms_norm_eps: positive.default(1e-5),
    max_position_embeddings: size.default(4096 * 32),
    num_local_experts: size.default(8),
    num_experts_per_tok: size.default(2),
    sliding_window: size.nullable().default(null),
  }),
  prepare: (raw) =>
    prepareLlama({
      rope_theta: 1e6,
      ...raw,
      num_local_experts: raw['num_local_experts'] ?? raw['num_experts'],
    }),
  describe: (config) => {
    const mixture = mixtureOfExperts(config, {
      ...namesOfExperts(mixtralExperts),
      count: config.num_local_experts,
      perToken: config.num_experts_per_tok,
      renormalise: true,
      width: config.intermediate_size,
      activation: config.hidden_act,
    });
    return llamaLike(config, { ...mixture, layer: () => windowed(config.sliding_window) });
  },
});
