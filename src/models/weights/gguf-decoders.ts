import { userError } from '../../shared/errors.js';
import { commonConfig } from './gguf-config.js';
import { headSizes, type ArchKeys } from './gguf-keys.js';
import type { Layout } from './gguf-layout.js';
import { headNorms, llamaInside, llamaPlaces } from './gguf-names.js';
import { ropeConfig } from './gguf-rope.js';
import type { GgufFile } from './gguf.js';
import type { JsonObject } from './types.js';

const outputNorms = {
  post_attention_norm: 'post_attention_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};
const fourNorms = { ...llamaInside, ...outputNorms, ffn_norm: 'pre_feedforward_layernorm' };

/** Architectures of llama.cpp without experts. */
export const denseLayouts: readonly Layout[] = [
  {
    arch: 'llama',
    ...llamaPlaces,
    interleaved: true,
    config: async (file, keys) => ({
      ...(await commonConfig(file, keys)),
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      hidden_act: 'silu',
      ...biases(file),
    }),
  },
  {
    arch: 'smollm3',
    ...llamaPlaces,
    interleaved: true,
    config: async (file, keys) => ({
      ...(await commonConfig(file, keys)),
      architectures: ['SmolLM3ForCausalLM'],
      model_type: 'smollm3',
      // The file does not say: every fourth layer of the released model, as llama.cpp has it.
      no_rope_layer_interval: 4,
      ...biases(file),
    }),
  },
  {
    arch: 'qwen2',
    ...llamaPlaces,
    config: async (file, keys) => ({
      ...(await commonConfig(file, keys)),
      architectures: ['Qwen2ForCausalLM'],
      model_type: 'qwen2',
      use_sliding_window: false,
    }),
  },
  {
    arch: 'qwen3',
    ...llamaPlaces,
    inside: { ...llamaInside, ...headNorms },
    config: async (file, keys) => ({
      ...(await commonConfig(file, keys)),
      architectures: ['Qwen3ForCausalLM'],
      model_type: 'qwen3',
      use_sliding_window: false,
    }),
  },
  {
    arch: 'gemma',
    ...llamaPlaces,
    normsPlusOne: true,
    config: async (file, keys) => ({
      ...(await commonConfig(file, keys)),
      architectures: ['GemmaForCausalLM'],
      model_type: 'gemma',
      hidden_act: 'gelu_pytorch_tanh',
    }),
  },
  {
    arch: 'gemma2',
    ...llamaPlaces,
    inside: fourNorms,
    normsPlusOne: true,
    config: async (file, keys) => {
      const common = await commonConfig(file, keys);
      return {
        ...common,
        architectures: ['Gemma2ForCausalLM'],
        model_type: 'gemma2',
        hidden_activation: 'gelu_pytorch_tanh',
        // The file does not say: the 27B divides by its width per head, the others by the head's size.
        query_pre_attn_scalar: scoreScalar(common, 46),
        sliding_window: keys.integer('attention.sliding_window', 1) ?? 4096,
        attn_logit_softcapping: keys.number('attn_logit_softcapping') ?? 50,
        final_logit_softcapping: keys.number('final_logit_softcapping') ?? 30,
      };
    },
  },
  {
    arch: 'gemma3',
    ...llamaPlaces,
    inside: { ...fourNorms, ...headNorms },
    normsPlusOne: true,
    config: async (file, keys) => {
      const common = await commonConfig(file, keys, 1e6);
      return {
        ...common,
        architectures: ['Gemma3ForCausalLM'],
        model_type: 'gemma3_text',
        hidden_activation: 'gelu_pytorch_tanh',
        query_pre_attn_scalar: scoreScalar(common, 62),
        sliding_window: keys.integer('attention.sliding_window', 1) ?? null,
        final_logit_softcapping: keys.number('final_logit_softcapping') ?? null,
        rope_parameters: {
          full_attention: common['rope_parameters'],
          sliding_attention: {
            rope_type: 'default',
            rope_theta: keys.number('rope.freq_base_swa') ?? 10000,
          },
        },
        ...layerTypes(file, keys),
      };
    },
  },
  {
    arch: 'phi3',
    ...llamaPlaces,
    inside: {
      attn_norm: 'input_layernorm',
      attn_qkv: 'self_attn.qkv_proj',
      attn_output: 'self_attn.o_proj',
      ffn_norm: 'post_attention_layernorm',
      ffn_up: 'mlp.gate_up_proj',
      ffn_down: 'mlp.down_proj',
    },
    config: async (file, keys) => {
      const window = keys.integer('attention.sliding_window') ?? 0;
      return {
        ...(await commonConfig(file, keys)),
        architectures: ['Phi3ForCausalLM'],
        model_type: 'phi3',
        original_max_position_embeddings:
          keys.integer('rope.scaling.original_context_length', 1) ?? keys.integer('context_length', 1),
        sliding_window: window === 0 ? null : window,
      };
    },
  },
  {
    arch: 'olmo2',
    ...llamaPlaces,
    inside: { ...llamaInside, ...headNorms, ...outputNorms },
    config: async (file, keys) => {
      if (keys.integer('attention.sliding_window') !== undefined)
        throw userError({ what: 'OLMo 3 is not supported', where: file.path, expected: 'OLMo 2' });
      return {
        ...(await commonConfig(file, keys)),
        architectures: ['Olmo2ForCausalLM'],
        model_type: 'olmo2',
      };
    },
  },
  {
    arch: 'gpt2',
    blocks: 'transformer.h.',
    inside: {
      attn_norm: 'ln_1',
      attn_qkv: 'attn.c_attn',
      attn_output: 'attn.c_proj',
      ffn_norm: 'ln_2',
      ffn_up: 'mlp.c_fc',
      ffn_down: 'mlp.c_proj',
    },
    outside: {
      'token_embd.weight': 'transformer.wte.weight',
      'position_embd.weight': 'transformer.wpe.weight',
      'output_norm.weight': 'transformer.ln_f.weight',
      'output_norm.bias': 'transformer.ln_f.bias',
      'output.weight': 'lm_head.weight',
    },
    transposed: true,
    config: (file, keys) =>
      Promise.resolve({
        architectures: ['GPT2LMHeadModel'],
        model_type: 'gpt2',
        vocab_size: file.info('token_embd.weight')?.shape[0],
        n_positions: file.info('position_embd.weight')?.shape[0],
        n_embd: keys.required('embedding_length'),
        n_layer: keys.required('block_count'),
        n_head: keys.required('attention.head_count'),
        n_inner: keys.required('feed_forward_length'),
        activation_function: 'gelu_new',
        layer_norm_epsilon: keys.number('attention.layer_norm_epsilon') ?? 1e-5,
        tie_word_embeddings: file.info('output.weight') === undefined,
        ...keys.specialTokens(),
      }),
  },
  {
    arch: 'gptneox',
    blocks: 'gpt_neox.layers.',
    inside: {
      attn_norm: 'input_layernorm',
      attn_qkv: 'attention.query_key_value',
      attn_output: 'attention.dense',
      ffn_norm: 'post_attention_layernorm',
      ffn_up: 'mlp.dense_h_to_4h',
      ffn_down: 'mlp.dense_4h_to_h',
    },
    outside: {
      'token_embd.weight': 'gpt_neox.embed_in.weight',
      'output_norm.weight': 'gpt_neox.final_layer_norm.weight',
      'output_norm.bias': 'gpt_neox.final_layer_norm.bias',
      'output.weight': 'embed_out.weight',
    },
    splitByKind: 'attention.query_key_value',
    config: async (file, keys) => ({
      architectures: ['GPTNeoXForCausalLM'],
      model_type: 'gpt_neox',
      vocab_size: file.info('token_embd.weight')?.shape[0],
      hidden_size: keys.required('embedding_length'),
      intermediate_size: keys.required('feed_forward_length'),
      num_hidden_layers: keys.required('block_count'),
      num_attention_heads: keys.required('attention.head_count'),
      max_position_embeddings: keys.integer('context_length', 1) ?? 2048,
      hidden_act: 'gelu',
      layer_norm_eps: keys.number('attention.layer_norm_epsilon') ?? 1e-5,
      use_parallel_residual: keys.boolean('use_parallel_residual') ?? true,
      attention_bias: file.info('blk.0.attn_qkv.bias') !== undefined,
      tie_word_embeddings: file.info('output.weight') === undefined,
      rope_parameters: {
        partial_rotary_factor: 1,
        ...(await ropeConfig(file, keys, { headDim: headSizes(keys).headDim, theta: 10000 })),
      },
      ...keys.specialTokens(),
    }),
  },
];

function biases(file: GgufFile): JsonObject {
  return {
    attention_bias: file.info('blk.0.attn_q.bias') !== undefined,
    mlp_bias: file.info('blk.0.ffn_up.bias') !== undefined,
  };
}

/** gemma2 and gemma3: queries are divided by the square root of this. */
function scoreScalar(common: JsonObject, layersOf27b: number): number {
  const whole =
    common['num_hidden_layers'] === layersOf27b
      ? Number(common['hidden_size']) / Number(common['num_attention_heads'])
      : Number(common['head_dim']);
  return whole;
}

/** Which layers slide, where the file says so; else five of six do. */
function layerTypes(file: GgufFile, keys: ArchKeys): JsonObject {
  const pattern = file.metadata.get(`${keys.arch}.attention.sliding_window_pattern`);
  if (pattern === undefined) return {};
  if (typeof pattern === 'number') return { sliding_window_pattern: pattern };
  if (!Array.isArray(pattern))
    throw userError({ what: 'metadata attention.sliding_window_pattern does not fit', where: file.path });
  return {
    layer_types: (pattern as readonly unknown[]).map((slides) =>
      slides === true || slides === 1 ? 'sliding_attention' : 'full_attention',
    ),
  };
}
