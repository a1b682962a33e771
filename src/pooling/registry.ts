import { matMul, type Tensor } from '@tensorflow/tfjs';
import { param, type Params } from '../models/layers.js';
import type { DecoderConfig } from '../models/decoder-config.js';
import { assertNever, internalError, userError } from '../shared/errors.js';
import { eosPooling } from './eos.js';
import { firstPooling } from './first.js';
import { withHead } from './head.js';
import { lastPooling } from './last.js';
import { latentAttentionPooling } from './latent-attention.js';
import { chosenLayers, LAYER_MIX, mixedLayers, mixStates } from './layers.js';
import { lmortPooling } from './lmort.js';
import { meanPooling } from './mean.js';
import type { Pooling } from './pooling.js';
import { poolRouters, routedLayers, withRouting, type ExpertPlaces } from './routing.js';
import type { HeadConfig, PoolingConfig } from './schema.js';
import { selfAttentionPooling } from './self-attention.js';
import { specialTokensPooling, tokenNames } from './special-tokens.js';
import { weightedMeanPooling } from './weighted-mean.js';

/** What a pooling's parameters depend on. */
export type PoolingSize = Pick<DecoderConfig, 'hidden_size' | 'num_hidden_layers'> &
  ExpertPlaces & { readonly output?: Pick<DecoderConfig['output'], 'width'> };

/**
 * Everything behind the blocks: the mix of layers, the pooling, the head.
 * @throws UserError where the head does not fit the decoder
 */
export function createPooling(config: PoolingConfig, size: PoolingSize): Pooling {
  const width = stateWidth(config, size);
  if (width === size.hidden_size) return poolingOf(config, size);
  return { dimensions: width, ...poolingOf(config, { ...size, hidden_size: width }) };
}

function poolingOf(config: PoolingConfig, size: PoolingSize): Pooling {
  const mixed = withLayerMix(plainPooling(config, size), mixedLayers(config, size.num_hidden_layers));
  const routing = 'routing' in config ? config.routing : undefined;
  const standardise = config.standardise === true;
  if (routing === undefined && !standardise) return headed(mixed, config.head, size.hidden_size);
  const routed = routing === undefined ? [] : routedLayers(routing, size);
  const joined = withRouting(mixed, { routing, standardise, hiddenSize: size.hidden_size, routed });
  return headed(joined, config.head, joined.dimensions ?? size.hidden_size);
}

function headed(pooling: Pooling, head: HeadConfig | undefined, width: number): Pooling {
  return head === undefined ? pooling : withHead(pooling, head, width);
}

/** Everything that a pooling keeps in a file: what is trained, and what is measured. */
export function savedShapes(config: PoolingConfig, size: PoolingSize): Map<string, readonly number[]> {
  const { parameterShapes, statisticShapes } = createPooling(config, size);
  return new Map([...(parameterShapes ?? []), ...(statisticShapes ?? [])]);
}

/** Numbers in a hidden state that is pooled. @throws UserError where they differ between the chosen layers */
function stateWidth(config: PoolingConfig, size: PoolingSize): number {
  const { hidden_size: hidden, output } = size;
  if (output === undefined || output.width === hidden) return hidden;
  const { normed, also } = chosenLayers(config, size.num_hidden_layers);
  if (!normed) return hidden;
  if (also.length === 0) return output.width;
  throw userError({
    what: 'the last hidden state of this decoder has another width than those before it',
    where: 'pooling.layer',
    got: `${output.width} and ${hidden}`,
    expected: 'layers of one width',
  });
}

/** Numbers of an embedding. */
export function embeddingDimensions(config: PoolingConfig, size: PoolingSize): number {
  return createPooling(config, size).dimensions ?? size.hidden_size;
}

/** Tokens of an answer whose hidden states are pooled; 1 where nothing has to be generated for it: the text's last token makes the first. */
export function generatedTokens(config: PoolingConfig): number {
  return config.type === 'last' ? (config.generate ?? 1) : 1;
}

/** Whether the pooled vector is standardised or joined with routing before it is used. */
export function changesVectors(config: PoolingConfig): boolean {
  return config.standardise === true || ('routing' in config && config.routing !== undefined);
}

/** Whether the family's end token is put behind every text. */
export function appendsEos(config: PoolingConfig): boolean {
  return config.type === 'eos' || (config.type === 'latentAttention' && config.aggregate === 'eos');
}

/** The special tokens that are put behind every text, in their order. */
export function specialTokens(config: PoolingConfig): readonly string[] {
  return config.type === 'specialTokens' ? tokenNames(config.tokens) : [];
}

/** Whether the last of the pooled tokens alone is the embedding's: what stands behind the text belongs to them. */
export function readsEnd(config: PoolingConfig): boolean {
  return (
    config.type === 'last' || appendsEos(config) || (config.type === 'lmort' && config.aggregate === 'last')
  );
}

/** The one registry: a new pooling is a file of its own, a member of the schema and a line here. */
function plainPooling(config: PoolingConfig, size: PoolingSize): Pooling {
  const { hidden_size: hiddenSize, num_hidden_layers: layers } = size;
  switch (config.type) {
    case 'first':
      return firstPooling();
    case 'mean':
      return meanPooling();
    case 'weightedMean':
      return weightedMeanPooling();
    case 'last':
      // The states of an answer stand in the place of the text's.
      return generatedTokens(config) > 1 ? meanPooling() : lastPooling();
    case 'eos':
      return eosPooling();
    case 'latentAttention':
      return latentAttentionPooling(config, hiddenSize);
    case 'selfAttention':
      return selfAttentionPooling(config, hiddenSize);
    case 'specialTokens':
      return specialTokensPooling(config, layers);
    case 'lmort':
      return lmortPooling(config, hiddenSize);
    default:
      return assertNever(config);
  }
}

/** Trained shares of `count` layers, equal at the beginning; 0: not learned. */
function withLayerMix(pooling: Pooling, count: number): Pooling {
  if (count === 0) return pooling;
  return {
    ...pooling,
    read: (states, params) => mixStates(states, param(params, LAYER_MIX)),
    parameterShapes: new Map([...(pooling.parameterShapes ?? []), [LAYER_MIX, [count]]]),
    initialise: (seed) =>
      new Map([...(pooling.initialise?.(seed) ?? []), [LAYER_MIX, new Float32Array(count)]]),
  };
}

/**
 * Packed rows to embeddings: hidden [L, D] of L = R * T places and membership [N, L] to [N, E], as one matrix product. `routers` are the
 * logits of the layers that the pooling reads, [L, X_l] each.
 */
export function poolPacked(
  pooling: Pooling,
  params: Params,
  {
    hidden,
    membership,
    routers,
  }: { readonly hidden: Tensor; readonly membership: Tensor; readonly routers?: readonly Tensor[] },
): Tensor {
  const states = pooling.transform?.(hidden, params) ?? hidden;
  const weights = pooling.weights(membership);
  const pooled = matMul(weights, states);
  const routed = pooledRouters(pooling, routers, (values) => matMul(weights, values));
  return pooling.project?.(pooled, params, routed) ?? pooled;
}

function pooledRouters(
  { routing }: Pooling,
  routers: readonly Tensor[] | undefined,
  pool: (values: Tensor) => Tensor,
): Tensor | undefined {
  if (routing === undefined) return undefined;
  if (routers?.length !== routing.layers.length) throw internalError('a routing without its routers');
  return poolRouters(routers, routing.weights, pool);
}

/** A padded batch to embeddings: hidden [N, T, D] and pool mask [N, T] (0 or 1, float32) to [N, E]. `routers` are [N * T, X_l]. */
export function poolPadded(
  pooling: Pooling,
  params: Params,
  {
    hidden,
    mask,
    routers,
  }: { readonly hidden: Tensor; readonly mask: Tensor; readonly routers?: readonly Tensor[] },
): Tensor {
  const [texts, tokens, width] = hidden.shape as [number, number, number];
  const flat = pooling.transform?.(hidden.reshape([texts * tokens, width]), params);
  const states = flat?.reshape([texts, tokens, width]) ?? hidden;
  const weights = pooling.weights(mask).reshape([texts, 1, tokens]);
  const pooled = matMul(weights, states).reshape([texts, width]);
  const routed = pooledRouters(pooling, routers, (values) => {
    const experts = values.shape[1] as number;
    return matMul(weights, values.reshape([texts, tokens, experts])).reshape([texts, experts]);
  });
  return pooling.project?.(pooled, params, routed) ?? pooled;
}

/** e / |e|, with a floor under the norm that a real text never meets. */
export function normalise(embedding: Tensor): Tensor {
  return embedding.div(embedding.square().sum(-1, true).sqrt().maximum(1e-12));
}
