import { z } from 'zod';
import { defineFamily } from './family.js';
import { llamaFields, prepareLlama } from './fields.js';
import { llamaLike, llamaNames } from './llama-like.js';

/** Llama (Touvron et al. 2023) and whatever calls itself by its name. */
export const llama = defineFamily({
  modelType: 'llama',
  models: 'Llama 1, 2, 3, 3.1, 3.2, SmolLM2, TinyLlama',
  special: 'grouped-query attention, tied or untied embeddings, biases',
  gguf: 'llama',
  names: llamaNames,
  biasKeys: ['attention_bias', 'mlp_bias'],
  schema: z.object(llamaFields),
  prepare: prepareLlama,
  describe: (config) => llamaLike(config),
});
