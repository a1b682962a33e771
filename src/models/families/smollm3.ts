import { z } from 'zod';
import type { LayerConfig } from '../decoder-config.js';
import { defineFamily } from './family.js';
import { layerType, llamaFields, prepareLlama, ropeOf, size } from './fields.js';
import { llamaLike, llamaNames } from './llama-like.js';
import { slidingLayer, windowed } from './windows.js';

/** SmolLM3 (Bakouch et al. 2025): Llama with layers that do not rotate. */
export const smollm3 = defineFamily({
  modelType: 'smollm3',
  models: 'SmolLM3',
  special: 'layers without rotation',
  gguf: 'smollm3',
  names: { ...llamaNames, tied: true },
  biasKeys: ['attention_bias', 'mlp_bias'],
  schema: z.object({
    ...llamaFields,
    max_position_embeddings: size.default(32768),
    tie_word_embeddings: z.boolean().default(true),
    /** 1: the layer rotates, 0: it does not. */
    no_rope_layers: z.array(z.int().min(0).max(1)).optional(),
    no_rope_layer_interval: z.int().min(1).default(4),
    use_sliding_window: z.boolean().default(false),
    sliding_window: size.nullable().default(null),
    layer_types: z.array(layerType).optional(),
  }),
  prepare: (raw) => {
    const prepared = prepareLlama(raw);
    return { ...prepared, rope: ropeOf(raw, { headDim: prepared['head_dim'], theta: 2e6 }) };
  },
  describe: (config) => {
    const rotates = (layer: number): boolean =>
      config.no_rope_layers === undefined
        ? (layer + 1) % config.no_rope_layer_interval !== 0
        : config.no_rope_layers[layer] === 1;
    const described = llamaLike(config, {
      layer: (layer) => {
        const slides = config.use_sliding_window && slidingLayer(config, (i) => !rotates(i), layer);
        return windowed(slides ? config.sliding_window : undefined);
      },
    });
    const layers = described.layers.map(({ rope, ...layer }, index): LayerConfig =>
      rotates(index) && rope !== undefined ? { ...layer, rope } : layer,
    );
    return { ...described, layers };
  },
});
