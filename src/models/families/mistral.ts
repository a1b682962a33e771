import { z } from 'zod';
import { defineFamily } from './family.js';
import { layerType, llamaFields, prepareLlama, size } from './fields.js';
import { llamaLike, llamaNames } from './llama-like.js';
import { typedLayers, windowed } from './windows.js';

/** Mistral (Jiang et al. 2023): Llama whose every layer has a sliding window, where the configuration names one. */
export const mistral = defineFamily({
  modelType: 'mistral',
  models: 'Mistral 7B v0.1 to v0.3, Mistral Nemo',
  special: 'sliding window in every layer',
  gguf: 'llama',
  names: llamaNames,
  schema: z.object({ ...llamaFields, sliding_window: size.nullable().default(4096) }),
  prepare: prepareLlama,
  describe: (config) => llamaLike(config, { layer: () => windowed(config.sliding_window) }),
});

/** Ministral 8B: layers with and without the window. */
export const ministral = defineFamily({
  modelType: 'ministral',
  models: 'Ministral 8B',
  special: 'sliding window by layer',
  names: llamaNames,
  schema: z.object({
    ...llamaFields,
    sliding_window: size.nullable().default(4096),
    layer_types: z.array(layerType).optional(),
  }),
  prepare: prepareLlama,
  describe: (config) =>
    llamaLike(config, { layer: typedLayers(config, () => config.sliding_window !== null) }),
});
