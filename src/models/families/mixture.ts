import { z } from 'zod';
import type { BlockConfig, DenseFeedForwardConfig, ExpertsConfig } from '../decoder-config.js';
import { mlpExperts as storedMlpExperts, type ExpertNames } from '../weights/expert-names.js';
import { size } from './fields.js';
import { llamaNames, type Differences, type LlamaSizes } from './llama-like.js';

/** The keys that Qwen2-MoE and its kin share. Which layers are dense: those of `mlp_only_layers` and all but every `decoder_sparse_step`-th. */
export const sparseFields = {
  num_experts: size,
  num_experts_per_tok: size,
  moe_intermediate_size: size,
  norm_topk_prob: z.boolean().default(false),
  decoder_sparse_step: z.int().min(1).default(1),
  mlp_only_layers: z.array(z.int().min(0)).default([]),
};

export interface SparseSteps {
  readonly decoder_sparse_step: number;
  readonly mlp_only_layers: readonly number[];
}

export function isDenseStep(
  { decoder_sparse_step: step, mlp_only_layers: dense }: SparseSteps,
  layer: number,
): boolean {
  return dense.includes(layer) || (layer + 1) % step !== 0;
}

/** Qwen's, OLMoE's and DeepSeek's names of experts. */
export const mlpExperts: Pick<ExpertsConfig, 'kind' | 'router' | 'experts' | 'gate' | 'up' | 'down'> =
  namesOfExperts(storedMlpExperts);

/** How experts are named, as the parts of a decoder are told. */
export function namesOfExperts({
  prefix,
  ...names
}: ExpertNames): Pick<ExpertsConfig, 'kind' | 'router' | 'experts' | 'gate' | 'up' | 'down'> {
  return { kind: 'experts', experts: prefix, ...names };
}

/** A gated part without biases under a prefix: `mlp.` of dense layers, `mlp.shared_expert.`. */
export function gatedPart(
  prefix: string,
  { hidden_act: activation }: Pick<LlamaSizes, 'hidden_act'>,
  width: number,
): DenseFeedForwardConfig {
  const [gate, up, down] = ['gate_proj', 'up_proj', 'down_proj'].map((last) => prefix + last) as [
    string,
    string,
    string,
  ];
  return { kind: 'gated', gate, up, down, width, bias: false, activation };
}

/** Experts in every layer but those that are dense. */
export function mixtureOfExperts(
  config: LlamaSizes,
  experts: ExpertsConfig,
  isDense: (layer: number) => boolean = () => false,
): Required<Pick<Differences, 'feedForward' | 'structures' | 'layer'>> {
  const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => layer);
  const dense = (block: BlockConfig): BlockConfig => ({
    ...block,
    feedForward: gatedPart('mlp.', config, config.intermediate_size),
  });
  return {
    feedForward: experts,
    structures: (block) => (layers.some(isDense) ? [dense(block)] : []),
    layer: (layer) => (isDense(layer) ? { structure: 1 } : {}),
  };
}

/** Llama's names, and experts one by one or, as transformers 5 keeps them in memory, all in one tensor. */
export const mlpExpertNames = { ...llamaNames, experts: storedMlpExperts };
