import { transpose } from '../../shared/matrix.js';
import { userError } from '../../shared/errors.js';
import type { GgufFamily } from './gguf-families.js';
import { metadataReader } from './gguf-metadata.js';
import { archKeys, commonConfig, type ArchKeys } from './gguf-config.js';
import { llamaInside, llamaOutside } from './gguf-names.js';
import type { GgufFile } from './gguf.js';
import { renamedStore } from './names.js';
import type { JsonObject, WeightStore } from './types.js';

/** How an architecture of llama.cpp lies in GGUF (its conversion/ scripts), where it is not Llama. */
interface Layout {
  readonly arch: string;
  /** Before the number of a layer: `model.layers.` */
  readonly blocks: string;
  /** GGUF's names inside `blk.N.` -> Hugging Face's inside the layer. */
  readonly inside: Readonly<Record<string, string>>;
  readonly outside: Readonly<Record<string, string>>;
  /** Norms are stored as 1 + w. */
  readonly normsPlusOne?: boolean;
  /** Hugging Face has the blocks' matrices as [in, out]. */
  readonly transposed?: boolean;
  readonly config: (file: GgufFile, keys: ArchKeys) => Promise<JsonObject>;
}

const headNorms = { attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm' };
const outputNorms = {
  post_attention_norm: 'post_attention_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};
const fourNorms = { ...llamaInside, ...outputNorms, ffn_norm: 'pre_feedforward_layernorm' };

const llamaPlaces = { blocks: 'model.layers.', inside: llamaInside, outside: llamaOutside };

const layouts: readonly Layout[] = [
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
];

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

/** Families that are not Llama, by `general.architecture`. */
export const furtherFamilies: Readonly<Record<string, GgufFamily>> = Object.fromEntries(
  layouts.map((layout): [string, GgufFamily] => [
    layout.arch,
    {
      config: (file) => layout.config(file, archKeys(file, metadataReader(file), layout.arch)),
      weights: (file) => weightsOf(file, layout),
    },
  ]),
);

function weightsOf(file: GgufFile, layout: Layout): WeightStore {
  const stored = new Map<string, string>();
  for (const name of file.names)
    if (!/^rope_(freqs|factors_long|factors_short)\.weight$/.test(name))
      stored.set(canonicalName(name, file, layout), name);
  const renamed = renamedStore(file, stored);
  const isTransposed = (name: string): boolean =>
    layout.transposed === true && name.startsWith(layout.blocks) && renamed.info(name)?.shape.length === 2;
  return {
    ...renamed,
    info: (name) => {
      const info = renamed.info(name);
      return info === undefined || !isTransposed(name) ? info : { ...info, shape: [...info.shape].reverse() };
    },
    read: async (name) => {
      const data = await renamed.read(name);
      if (layout.normsPlusOne === true && name.endsWith('norm.weight')) return data.map((value) => value - 1);
      if (!isTransposed(name)) return data;
      const [rows, columns] = renamed.info(name)?.shape as [number, number];
      return transpose(data, rows, columns);
    },
    readPacked: async (name) => {
      const changed = isTransposed(name) || (layout.normsPlusOne === true && name.endsWith('norm.weight'));
      return changed ? undefined : renamed.readPacked?.(name);
    },
  };
}

function canonicalName(name: string, file: GgufFile, { arch, blocks, inside, outside }: Layout): string {
  const parts = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name);
  const part = parts?.[2] ?? '';
  if (parts !== null && Object.hasOwn(inside, part))
    return `${blocks}${Number(parts[1])}.${inside[part] ?? ''}.${parts[3] ?? ''}`;
  const known = Object.hasOwn(outside, name) ? outside[name] : undefined;
  if (known !== undefined) return known;
  throw userError({ what: `tensor ${name} has no place in a ${arch} model`, where: file.path });
}
