import { z } from 'zod';
import type { BlockConfig, NormConfig } from '../decoder-config.js';
import { ropeSchema } from '../rope-config.js';
import { activation, positive, ropeOf, size } from './fields.js';
import { defineFamily } from './family.js';

/** GPT-NeoX (Black et al. 2022): attention and feed-forward of the same input, a quarter of each head rotated. */
export const gptNeox = defineFamily({
  modelType: 'gpt_neox',
  models: 'GPT-NeoX-20B, Pythia',
  special: 'parallel residual, partial rotation, joined query, key, value matrix head by head',
  gguf: 'gptneox',
  names: {
    prefix: 'gpt_neox.',
    parts: ['embed_in', 'layers', 'final_layer_norm'],
    head: 'embed_out.weight',
    tied: false,
  },
  schema: z.object({
    hidden_size: size,
    intermediate_size: size,
    num_hidden_layers: z.int().min(1).max(1024),
    num_attention_heads: size,
    vocab_size: size,
    max_position_embeddings: size.default(2048),
    hidden_act: activation.default('gelu'),
    layer_norm_eps: positive.default(1e-5),
    use_parallel_residual: z.boolean().default(true),
    attention_bias: z.boolean().default(true),
    tie_word_embeddings: z.boolean().default(false),
    rope: ropeSchema,
  }),
  prepare: (raw) => {
    const { hidden_size: hidden, num_attention_heads: heads } = raw;
    const headDim =
      typeof hidden === 'number' && typeof heads === 'number' ? Math.floor(hidden / heads) : undefined;
    const partial = typeof raw['rotary_pct'] === 'number' ? raw['rotary_pct'] : 0.25;
    const theta = typeof raw['rotary_emb_base'] === 'number' ? raw['rotary_emb_base'] : 10000;
    return { ...raw, rope: ropeOf(raw, { headDim, theta, partial }) };
  },
  describe: (config) => {
    const { hidden_size: hidden, num_attention_heads: heads } = config;
    const headDim = Math.floor(hidden / heads);
    const norm = (name: string): NormConfig => ({
      kind: 'layer',
      name,
      width: hidden,
      eps: config.layer_norm_eps,
    });
    const block: BlockConfig = {
      attention: {
        heads,
        keyHeads: heads,
        headDim,
        projection: { kind: 'joinedByHead', weight: 'attention.query_key_value' },
        inputBias: config.attention_bias,
        output: 'attention.dense',
        outputBias: config.attention_bias,
        scale: 1 / Math.sqrt(headDim),
      },
      feedForward: {
        kind: 'plain',
        up: 'mlp.dense_h_to_4h',
        down: 'mlp.dense_4h_to_h',
        width: config.intermediate_size,
        bias: true,
        activation: config.hidden_act,
      },
      norms: {
        attentionInput: norm('input_layernorm'),
        feedForwardInput: norm('post_attention_layernorm'),
      },
      parallel: config.use_parallel_residual,
      layout: 'outIn',
    };
    return {
      hidden_size: hidden,
      num_hidden_layers: config.num_hidden_layers,
      num_attention_heads: heads,
      num_key_value_heads: heads,
      head_dim: headDim,
      vocab_size: config.vocab_size,
      max_position_embeddings: config.max_position_embeddings,
      tie_word_embeddings: config.tie_word_embeddings,
      embedding: { weight: 'gpt_neox.embed_in.weight', width: hidden },
      blocks: 'gpt_neox.layers.',
      structures: [block],
      layers: Array.from({ length: config.num_hidden_layers }, () => ({ structure: 0, rope: 'default' })),
      ropes: { default: config.rope },
      output: { norm: norm('gpt_neox.final_layer_norm'), width: hidden, head: 'embed_out.weight' },
    };
  },
});
