import type { Tensor } from '@tensorflow/tfjs';
import { traceGradient } from '../compiler/compile.js';
import type { Device } from '../compiler/device.js';
import { savedBytes, splitGraph, type SavePolicy } from '../compiler/split.js';
import type { InputSpec } from '../compiler/trace.js';
import { block } from '../models/block.js';
import { blockPrefix, layerOf, structureOf } from '../models/decoder-config.js';
import { headName, type Decoder } from '../models/decoder.js';
import type { Params } from '../models/layers.js';
import { adapterSites } from '../models/block-masks.js';
import { loraShapes } from '../models/lora.js';
import { weightCopies } from '../models/parallel-runner.js';
import { isPacked, residentBytes } from '../models/resident.js';
import type { TuningConfig } from '../models/schema.js';
import { blockWeightShapes } from '../models/weight-shapes.js';
import type { EmbeddingRecipe } from '../pooling/embedding-model.js';
import { packedHeadBytes } from './objectives/packed-head.js';
import type { StageConfig } from './schema.js';

export interface MemorySizing {
  readonly decoder: Decoder;
  readonly tuning: TuningConfig;
  readonly stage: StageConfig;
  readonly recipe: EmbeddingRecipe;
  readonly attentionDropout: number;
  /** Mean tokens of a text as the stage sees it. */
  readonly tokensPerText: number;
  readonly threads: number;
  /** Default cpu. */
  readonly device?: Device;
}

/** Node, ONNX Runtime, compiled programs and their workspace: measured, not derived. */
const PROCESS_BYTES = 450e6;

/** From the fastest to the smallest. */
const BY_SPEED: readonly SavePolicy[] = ['all', 'matmulOutputs', 'blockInputs'];

/** What of speed is given up for memory. */
export interface MemoryPlan {
  readonly policy: SavePolicy;
  /** Copies of the weights: 1, or one for each runner where every runner has a thread of its own. */
  readonly copies: number;
}

/** The fastest plan whose estimate fits the budget; the smallest where none does. A policy that the user names stays. */
export function planMemory(
  sizing: MemorySizing,
  {
    budget = 4e9,
    policy,
  }: { readonly budget?: number | undefined; readonly policy?: SavePolicy | undefined },
): MemoryPlan {
  const policies = policy === undefined ? BY_SPEED : [policy];
  const plans = [...new Set([weightCopies(sizing.threads, sizing.device), 1])].flatMap((copies) =>
    policies.map((one) => ({ policy: one, copies })),
  );
  return plans.find((plan) => memoryEstimate(sizing, plan) <= budget) ?? (plans.at(-1) as MemoryPlan);
}

/** Bytes that a stage is expected to take at its peak: weights, trained parameters with gradients and moments, what the passes keep, workspace. */
export function memoryEstimate(sizing: MemorySizing, { policy, copies }: MemoryPlan): number {
  const { decoder, tuning, stage } = sizing;
  const { config } = decoder;
  const count = (shapes: Iterable<readonly number[]>): number =>
    [...shapes].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const weights = [...decoder.weights.values()].reduce((sum, { length }) => sum + length, 0);
  const frozen = tuning.type === 'none';
  const adapted = tuning.type === 'lora' ? count(loraShapes(config, tuning).values()) : weights;
  const trained = frozen ? 0 : adapted;
  const tokens = expectedTokens(sizing);
  // Nothing of a frozen decoder is kept but the hidden states that are read.
  const perToken = frozen
    ? config.hidden_size * 8
    : config.num_hidden_layers * config.hidden_size * 4 + keptBytesPerToken(sizing, policy);
  const logits = stage.objective === 'simcse' || stage.objective === 'contrastive' ? 0 : 5 * (1 << 24) * 4;
  return (
    PROCESS_BYTES +
    weightBytes(sizing, copies) +
    4 * trained * (tuning.type === 'lora' ? 4 : 3) +
    tokens * perToken +
    logits
  );
}

/** Weights in memory: packed ones once, float32 and the block that is expanded for every copy, and a packed head that is read. */
function weightBytes({ decoder, stage }: MemorySizing, copies: number): number {
  const { config, weights } = decoder;
  let bytes = 0;
  const expanded = new Array<number>(config.num_hidden_layers).fill(0);
  for (const [name, weight] of weights) {
    const { shared, own } = residentBytes(weight);
    bytes += shared + own * copies;
    const layer = isPacked(weight) ? layerOf(config, name) : undefined;
    if (layer !== undefined) expanded[layer] = (expanded[layer] ?? 0) + 4 * weight.length;
  }
  const head = weights.get(headName(decoder));
  const predicts = stage.objective === 'mntp' || stage.objective === 'causalLm';
  const headBytes = predicts && head !== undefined && isPacked(head) ? packedHeadBytes(config) : 0;
  return bytes + headBytes + copies * Math.max(0, ...expanded);
}

/** Tokens of a large batch or chunk of one, and a tenth more than the mean, blank places included. */
function expectedTokens({ stage, tokensPerText }: MemorySizing): number {
  return 1.1 * textsAtOnce(stage) * tokensPerText;
}

/** Two views of each text in SimCSE; query, positive and negatives of each example in contrastive training. */
function textsAtOnce(stage: StageConfig): number {
  switch (stage.objective) {
    case 'simcse':
      return 2 * stage.batchTexts;
    case 'contrastive':
      return Math.min(stage.chunkTexts ?? Infinity, (2 + stage.hardNegatives) * stage.batchTexts);
    default:
      return stage.batchTexts;
  }
}

/** What a policy keeps of all blocks for one token. */
function keptBytesPerToken(sizing: MemorySizing, policy: SavePolicy): number {
  if (policy === 'blockInputs') return 0;
  const { layers, structures } = sizing.decoder.config;
  const bytes = structures.map((_, structure) => {
    const first = layers.findIndex((layer) => layer.structure === structure);
    return first < 0 ? 0 : blockBytesPerToken(sizing, policy, first);
  });
  return layers.reduce((sum, { structure }) => sum + (bytes[structure] ?? 0), 0);
}

/** What a policy keeps of a layer's block for one token, from the traced graph itself. */
function blockBytesPerToken(sizing: MemorySizing, policy: SavePolicy, layer: number): number {
  const { decoder, tuning, stage } = sizing;
  const { config } = decoder;
  const tokens = Math.min(128, stage.maxTokens);
  const rope = config.layers[layer]?.rope;
  const angles = [1, tokens, 1, (config.ropes[rope ?? '']?.dims ?? 0) / 2];
  const inputs: Record<string, InputSpec> = {
    x: { shape: [1, tokens, config.hidden_size], type: 'float32' },
    mask: { shape: [1, 1, tokens, tokens], type: 'float32' },
    ...(rope === undefined
      ? {}
      : { cos: { shape: angles, type: 'float32' }, sin: { shape: angles, type: 'float32' } }),
  };
  for (const [name, shape] of Object.entries(blockWeightShapes(config, layer)))
    inputs[name] = { shape, type: 'float32' };
  const prefix = blockPrefix(config, layer);
  const adapters =
    tuning.type === 'lora' ? [...loraShapes(config, tuning)].filter(([name]) => name.startsWith(prefix)) : [];
  for (const [name, shape] of adapters) inputs[name.slice(prefix.length)] = { shape, type: 'float32' };
  const graph = traceGradient(
    (tensors) => {
      const { x, mask, cos, sin, ...params } = tensors as Params & Record<'x' | 'mask', Tensor>;
      const rotation = cos === undefined || sin === undefined ? undefined : { cos, sin };
      const input = { x, mask, rotation, dropout: undefined, adapterScale: 1 };
      return block(params, input, structureOf(config, layer));
    },
    inputs,
    {
      name: 'memory estimate',
      wrt: [
        'x',
        ...(tuning.type === 'lora'
          ? adapters.map(([name]) => name.slice(prefix.length))
          : Object.keys(blockWeightShapes(config, layer))),
      ],
    },
  );
  const { saved } = splitGraph(graph, { outputs: ['output'], outputGradient: 'outputGradient', policy });
  return savedBytes(saved) / tokens + (policy === 'all' ? maskBytesPerToken(sizing, layer, tokens) : 0);
}

/** Keep-masks of one block for one token of a row of `tokens`: a byte an element. */
function maskBytesPerToken(
  { decoder: { config }, tuning, attentionDropout }: MemorySizing,
  layer: number,
  tokens: number,
): number {
  const adapted = tuning.type === 'lora' && tuning.dropout > 0;
  const sites = Object.values(adapterSites(config, layer)).reduce((sum, width) => sum + width, 0);
  return (adapted ? sites : 0) + (attentionDropout > 0 ? config.num_attention_heads * tokens : 0);
}
