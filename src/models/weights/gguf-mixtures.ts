import { userError } from '../../shared/errors.js';
import { mixtralExperts, mlpExperts } from './expert-names.js';
import { commonConfig } from './gguf-config.js';
import type { ArchKeys } from './gguf-keys.js';
import type { Layout } from './gguf-layout.js';
import { headNorms, llamaInside, llamaPlaces } from './gguf-names.js';
import type { GgufFile } from './gguf.js';
import type { JsonObject } from './types.js';

/** llama.cpp's mixtures of experts. Their experts lie in three tensors a layer, [X, F, D] gates and ups, [X, D, F] downs. */
export const mixtureLayouts: readonly Layout[] = [
  {
    arch: 'qwen2moe',
    ...llamaPlaces,
    inside: {
      ...llamaInside,
      ffn_gate_inp: mlpExperts.router,
      ffn_gate_inp_shexp: 'mlp.shared_expert_gate',
      ...sharedParts('mlp.shared_expert.'),
    },
    experts: mlpExperts,
    config: async (file, keys) => ({
      ...(await commonConfig(file, keys)),
      architectures: ['Qwen2MoeForCausalLM'],
      model_type: 'qwen2_moe',
      ...expertsOf(file, keys, { renormalise: false }),
      shared_expert_intermediate_size:
        keys.integer('expert_shared_feed_forward_length', 1) ?? rowsOf(file, 'ffn_up_shexp', 0),
      qkv_bias: file.info('blk.0.attn_q.bias') !== undefined,
      use_sliding_window: false,
    }),
  },
  {
    arch: 'qwen3moe',
    ...llamaPlaces,
    inside: { ...llamaInside, ...headNorms, ffn_gate_inp: mlpExperts.router },
    experts: mlpExperts,
    config: async (file, keys) => ({
      ...(await commonConfig(file, keys)),
      architectures: ['Qwen3MoeForCausalLM'],
      model_type: 'qwen3_moe',
      ...expertsOf(file, keys, { renormalise: true }),
      use_sliding_window: false,
    }),
  },
  {
    arch: 'olmoe',
    ...llamaPlaces,
    inside: { ...llamaInside, ...headNorms, ffn_gate_inp: mlpExperts.router },
    experts: mlpExperts,
    config: async (file, keys) => {
      const clip = keys.number('attention.clamp_kqv') ?? 0;
      const { num_experts, num_experts_per_tok, norm_topk_prob } = expertsOf(file, keys, {
        renormalise: false,
      });
      return {
        ...(await commonConfig(file, keys)),
        architectures: ['OlmoeForCausalLM'],
        model_type: 'olmoe',
        num_experts,
        num_experts_per_tok,
        norm_topk_prob,
        clip_qkv: clip > 0 ? clip : null,
      };
    },
  },
  {
    arch: 'deepseek',
    ...llamaPlaces,
    inside: {
      ...llamaInside,
      ffn_gate_inp: mlpExperts.router,
      ...sharedParts('mlp.shared_experts.'),
    },
    interleaved: true,
    experts: mlpExperts,
    config: async (file, keys) => {
      const {
        num_experts,
        mlp_only_layers: dense,
        ...experts
      } = expertsOf(file, keys, {
        renormalise: false,
      });
      const shared = keys.integer('expert_shared_count') ?? 0;
      return {
        ...(await commonConfig(file, keys)),
        architectures: ['DeepseekForCausalLM'],
        model_type: 'deepseek',
        ...experts,
        n_routed_experts: num_experts,
        ...(shared === 0 ? {} : { n_shared_experts: shared }),
        first_k_dense_replace: keys.integer('leading_dense_block_count') ?? dense.length,
        moe_layer_freq: 1,
      };
    },
  },
];

/** Mixtral, which llama.cpp calls llama too. */
export const mixtralLayout: Layout = {
  arch: 'llama',
  ...llamaPlaces,
  inside: { ...llamaInside, ffn_gate_inp: mixtralExperts.router },
  interleaved: true,
  experts: mixtralExperts,
  config: async (file, keys) => {
    const experts = expertsOf(file, keys, { renormalise: true });
    if (!experts.norm_topk_prob) throw notSupported(file, `${keys.arch}.expert_weights_norm`, 'false');
    return {
      ...(await commonConfig(file, keys)),
      architectures: ['MixtralForCausalLM'],
      model_type: 'mixtral',
      num_local_experts: experts.num_experts,
      num_experts_per_tok: experts.num_experts_per_tok,
      sliding_window: null,
    };
  },
};

/** More than any released model has. */
const MOST_EXPERTS = 4096;
/** Softmax among llama.cpp's ways to make weights of a router's outputs. */
const SOFTMAX = 1;

/** What Qwen's config.json says of experts. */
interface Experts extends JsonObject {
  readonly num_experts: number;
  readonly num_experts_per_tok: number;
  readonly moe_intermediate_size: number;
  readonly norm_topk_prob: boolean;
  /** The layers without a router. */
  readonly mlp_only_layers: readonly number[];
}

/** @param renormalise whether the weights of a token's experts sum to one where the file does not say. */
function expertsOf(
  file: GgufFile,
  keys: ArchKeys,
  { renormalise }: { readonly renormalise: boolean },
): Experts {
  const gating = keys.integer('expert_gating_func') ?? SOFTMAX;
  if (gating > SOFTMAX) throw notSupported(file, `${keys.arch}.expert_gating_func`, String(gating));
  const scale = keys.number('expert_weights_scale') ?? 1;
  // llama.cpp takes 0 for 1.
  if (scale !== 0 && scale !== 1)
    throw notSupported(file, `${keys.arch}.expert_weights_scale`, String(scale));
  const count = keys.required('expert_count');
  if (count > MOST_EXPERTS) throw notSupported(file, `${keys.arch}.expert_count`, String(count));
  const layers = Array.from({ length: Math.min(keys.required('block_count'), 1024) }, (_, layer) => layer);
  return {
    num_experts: count,
    num_experts_per_tok: keys.required('expert_used_count'),
    moe_intermediate_size:
      keys.integer('expert_feed_forward_length', 1) ??
      rowsOf(file, 'ffn_up_exps', 1) ??
      keys.required('feed_forward_length'),
    norm_topk_prob: keys.boolean('expert_weights_norm') ?? renormalise,
    mlp_only_layers: layers.filter((layer) => file.info(`blk.${layer}.ffn_gate_inp.weight`) === undefined),
  };
}

/** Size of an axis of a tensor in the first layer that has it. */
function rowsOf(file: GgufFile, part: string, axis: number): number | undefined {
  const name = file.names.find((name) => name.endsWith(`.${part}.weight`));
  return name === undefined ? undefined : file.info(name)?.shape[axis];
}

function sharedParts(prefix: string): Record<string, string> {
  return Object.fromEntries(
    ['gate', 'up', 'down'].map((last) => [`ffn_${last}_shexp`, `${prefix}${last}_proj`]),
  );
}

function notSupported(file: GgufFile, key: string, got: string): Error {
  return userError({ what: `metadata ${key} is not supported`, where: file.path, got });
}
