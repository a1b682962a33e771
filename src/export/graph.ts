import { gather, scalar, tensor1d, type Tensor } from '@tensorflow/tfjs';
import { subgraph, type Graph } from '../compiler/graph.js';
import { dynamicAxes, trace, type InputSpec, type Tensors } from '../compiler/trace.js';
import { attentionMask } from '../models/attention.js';
import { block } from '../models/block.js';
import { blockPrefix, structureOf, type DecoderConfig } from '../models/decoder-config.js';
import { embed } from '../models/embedding.js';
import { maskKind, maskName } from '../models/layer-masks.js';
import type { Params } from '../models/layers.js';
import { valuesOf } from '../models/resident.js';
import type { RouterOutput } from '../models/router.js';
import { rotation } from '../models/rope.js';
import { blockWeightShapes, embeddingShapes, outputShapes } from '../models/weight-shapes.js';
import type { EmbeddingModel } from '../pooling/embedding-model.js';
import { chosenLayers, joinedLayers, mixStates, normedStates, type ChosenLayers } from '../pooling/layers.js';
import { isOfHead } from '../pooling/head.js';
import type { PooledTokens } from '../pooling/manifest.js';
import type { PoolingConfig } from '../pooling/schema.js';
import { createPooling, normalise, poolPadded, savedShapes } from '../pooling/registry.js';
import { assertNever, internalError } from '../shared/errors.js';
import { foldTransposes } from './fold-transposes.js';

/** A weight that is stored in the file. Its data is made when its turn comes. */
export interface StoredWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: 'float32' | 'float16' | 'int8' | 'uint8';
  /** It stays float32 in every format. */
  readonly exact?: true;
  /** float16 as bit patterns. */
  readonly data: () => Float32Array | Uint16Array | Int8Array | Uint8Array;
}

/** The whole embedder as one ONNX graph. */
export interface EmbedderGraph {
  readonly graph: Graph;
  readonly weights: readonly StoredWeight[];
  /** Names of the axes that stand in shapes as these primes. */
  readonly dimensionNames: ReadonlyMap<number, string>;
}

/**
 * Traces an embedding model to one graph on standard ONNX operators: `input_ids`, `attention_mask` (and `pool_mask`) int64 [batch, sequence]
 * to `last_hidden_state` [batch, sequence, D], the states that are pooled, and `sentence_embedding` [batch, E] of unit length.
 * Padding may be on either side: positions are counted along the mask.
 * @param ending what stands behind every text (`endingTokens`): the graph puts it there again
 */
export function embedderGraph(
  model: EmbeddingModel,
  pooled: PooledTokens,
  ending: readonly number[],
): EmbedderGraph {
  const { decoder, recipe } = model;
  const weights = usedWeights(model, usedLayers(recipe.pooling, decoder.config));
  const axes = dynamicAxes(
    [
      { name: 'batch', input: 'input_ids', axis: 0 },
      { name: 'sequence', input: 'input_ids', axis: 1 },
    ],
    [...weights.values()].flatMap(({ shape }) => shape),
  );
  const shape = axes.map((axis) => axis.prime);
  const tokens: InputSpec = { shape, type: 'int64' };
  const inputs: Record<string, InputSpec> = { input_ids: tokens, attention_mask: tokens };
  if (pooled.kind === 'input') inputs['pool_mask'] = tokens;
  for (const [name, weight] of weights) inputs[name] = { shape: weight.shape, type: 'float32' };
  const traced = trace((tensors) => embedderFunction({ model, pooled, ending }, tensors), inputs, {
    name: 'embedder',
    contrib: false,
    dynamicAxes: axes,
  });
  const folded = foldTransposes(subgraph(traced, traced.outputs), weights);
  return { ...folded, dimensionNames: new Map(axes.map(({ prime, name }) => [prime, name])) };
}

/** Blocks that the embedding depends on, and whether what comes out of them is normed. */
function usedLayers(pooling: PoolingConfig, config: DecoderConfig): Pick<ChosenLayers, 'blocks' | 'normed'> {
  const routed = createPooling(pooling, config).routing?.layers ?? [];
  return joinedLayers([chosenLayers(pooling, config.num_hidden_layers)], Math.max(-1, ...routed) + 1);
}

/** A weight as the model has it, float32. */
export type TracedWeight = Pick<StoredWeight, 'shape' | 'exact'> & { readonly data: () => Float32Array };

/** The weights that the embedding depends on, and the pooling's own. */
function usedWeights(
  model: EmbeddingModel,
  { blocks, normed }: Pick<ChosenLayers, 'blocks' | 'normed'>,
): Map<string, TracedWeight> {
  const { decoder, recipe, poolingParameters } = model;
  const { config } = decoder;
  const used = new Map<string, TracedWeight>();
  const take = (name: string): void => {
    const shape = decoder.shapes.get(name);
    const weight = decoder.weights.get(name);
    if (shape === undefined || weight === undefined) throw internalError(`no weight ${name}`);
    used.set(name, { shape, data: () => valuesOf(weight) });
  };
  Object.keys(embeddingShapes(config)).forEach(take);
  for (let layer = 0; layer < blocks; layer++) {
    for (const name of Object.keys(blockWeightShapes(config, layer))) take(blockPrefix(config, layer) + name);
  }
  if (normed) Object.keys(outputShapes(config)).forEach(take);
  for (const [name, shape] of savedShapes(recipe.pooling, config)) {
    const data = poolingParameters.get(name);
    if (data === undefined) throw internalError(`no pooling parameter ${name}`);
    // It is small, and other tools have it in a module of its own, in float32: the vectors are to be the same.
    used.set(name, { shape, data: () => data, ...(isOfHead(name) ? { exact: true } : {}) });
  }
  return used;
}

interface GraphParts {
  readonly model: EmbeddingModel;
  readonly pooled: PooledTokens;
  readonly ending: readonly number[];
}

function embedderFunction({ model, pooled, ending }: GraphParts, tensors: Tensors): Tensors {
  const { recipe } = model;
  const { config } = model.decoder;
  const { input_ids: given, attention_mask: mask, pool_mask: poolMask } = tensors as Record<string, Tensor>;
  if (given === undefined || mask === undefined) throw internalError('an embedder has two inputs');
  const ids = ending.length === 0 ? given : withEnding(given, mask, ending);
  const chosen = chosenLayers(recipe.pooling, config.num_hidden_layers);
  const positions = mask.cumsum(-1).sub(scalar(1, 'int32')).maximum(scalar(0, 'int32'));
  const rotations = Object.fromEntries(
    Object.entries(config.ropes).map(([name, rope]) => [name, rotation(positions, mask, rope)]),
  );
  const pooling = createPooling(recipe.pooling, config);
  const masks: Record<string, Tensor> = {};
  const routers = new Map<number, Tensor>();
  let x = embed(tensors, ids, positions, config);
  const states = [x];
  for (let layer = 0; layer < usedLayers(recipe.pooling, config).blocks; layer++) {
    const kind = maskKind(config, recipe, layer);
    const additive = (masks[maskName(kind)] ??= attentionMask(mask, positions, {
      causal: kind.mode === 'causal',
      window: kind.window,
    }));
    const turned = rotations[config.layers[layer]?.rope ?? ''];
    const onRouter = ({ logits }: RouterOutput): void => void routers.set(layer, logits);
    const input = { x, mask: additive, rotation: turned, dropout: undefined, adapterScale: 0, onRouter };
    x = block(layerParams(tensors, blockPrefix(config, layer)), input, structureOf(config, layer));
    states.push(x);
  }
  const read = normedStates((depth) => states[depth] as Tensor, chosen, { params: tensors, config });
  const everyToken = (): Tensor =>
    masks['mask:bidirectional'] ?? attentionMask(mask, positions, { causal: false });
  const hidden = pooling.read?.(read, tensors, everyToken) ?? mixStates(read, undefined);
  const { routing } = pooling;
  const embedding = poolPadded(pooling, tensors, {
    hidden,
    mask: pooledMask(pooled, mask, poolMask),
    ...(routing === undefined
      ? {}
      : { routers: routing.layers.map((layer) => routers.get(layer) as Tensor) }),
  });
  return { last_hidden_state: hidden, sentence_embedding: normalise(embedding) };
}

/**
 * The end token and special tokens in the place of each text's last ones, where the tokenizer puts them: transformers.js puts them there too
 * and then cuts a text that is too long at its end. Such a text loses its last own tokens here, as it does elsewhere.
 */
function withEnding(ids: Tensor, mask: Tensor, ending: readonly number[]): Tensor {
  const place = mask
    .cumsum(-1)
    .sub(mask.sum(-1, true))
    .add(scalar(ending.length - 1, 'int32'));
  const atEnd = place.greaterEqual(scalar(0, 'int32')).cast('int32').mul(mask);
  const kept = ids.mul(scalar(1, 'int32').sub(atEnd));
  const tokens = gather(tensor1d(ending as number[], 'int32'), place.maximum(scalar(0, 'int32')));
  return kept.add(tokens.mul(atEnd));
}

function layerParams(tensors: Tensors, prefix: string): Params {
  return Object.fromEntries(
    Object.entries(tensors)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, tensor]) => [name.slice(prefix.length), tensor]),
  );
}

/** [batch, sequence] float32: 1 where a token is pooled. Padding never is, whatever `pool_mask` says. */
function pooledMask(pooled: PooledTokens, mask: Tensor, poolMask: Tensor | undefined): Tensor {
  const real = mask.cast('float32');
  const rank = (): Tensor => real.cumsum(-1).mul(real);
  switch (pooled.kind) {
    case 'all':
      return real;
    case 'last':
      return rank().equal(real.sum(-1, true)).cast('float32').mul(real);
    case 'afterPrefix':
      return rank().greater(pooled.tokens).cast('float32');
    case 'input':
      if (poolMask === undefined) throw internalError('the graph has no pool_mask');
      return real.mul(poolMask.cast('float32'));
    default:
      return assertNever(pooled);
  }
}
