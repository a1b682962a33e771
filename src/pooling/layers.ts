import { addN, softmax, type Tensor } from '@tensorflow/tfjs';
import type { DecoderConfig } from '../models/decoder-config.js';
import type { Params } from '../models/layers.js';
import { lastHiddenState } from '../models/output.js';
import { userError } from '../shared/errors.js';
import type { PoolingConfig } from './schema.js';

/** Learned weights of a layer mix: softmax of them are the shares. */
export const LAYER_MIX = 'layer_mix.weight';

/** Which hidden states a pooling reads. A depth is a number of blocks: 0 the embeddings, L the last block's output, normed. */
export interface ChosenLayers {
  /** Blocks to go through. */
  readonly blocks: number;
  /** The depths, in the order of the choice. */
  readonly depths: readonly number[];
  /** Those below `blocks`, ascending, each once. */
  readonly also: readonly number[];
  /** Whether one of them is the last block's output, which is normed. */
  readonly normed: boolean;
}

/**
 * The hidden states that a pooling reads in a decoder of `layers` blocks.
 * @throws UserError where one does not exist
 */
export function chosenLayers(
  pooling: Pick<PoolingConfig, 'layer'>,
  layers: number,
  where = 'pooling.layer',
): ChosenLayers {
  const depths = layerList(pooling, layers).map((layer) => depthOf(layer, layers, where));
  const blocks = Math.max(...depths);
  const also = [...new Set(depths)].filter((depth) => depth < blocks).sort((a, b) => a - b);
  return { blocks, depths, also, normed: blocks === layers };
}

function layerList({ layer }: Pick<PoolingConfig, 'layer'>, layers: number): readonly number[] {
  if (typeof layer === 'number') return [layer];
  if (!('learned' in layer)) return layer;
  return layer.learned === 'all' ? Array.from({ length: layers + 1 }, (_, depth) => depth) : layer.learned;
}

function depthOf(layer: number, layers: number, where: string): number {
  const depth = layer < 0 ? layers + 1 + layer : layer;
  if (depth >= 0 && depth <= layers) return depth;
  throw userError({
    what: `no such layer in a decoder of ${layers}`,
    where,
    got: String(layer),
    expected: `${-layers - 1} to ${layers}`,
  });
}

/** Number of learned shares of a pooling; 0 where the mix is not learned. */
export function mixedLayers(pooling: PoolingConfig, layers: number): number {
  const { layer } = pooling;
  return typeof layer === 'object' && 'learned' in layer ? layerList(pooling, layers).length : 0;
}

/** What one pass through the blocks has to give so that several poolings can read it, through at least `least` of them. */
export function joinedLayers(
  all: readonly ChosenLayers[],
  least = 0,
): Pick<ChosenLayers, 'blocks' | 'also' | 'normed'> {
  const depths = new Set(all.flatMap((chosen) => chosen.depths));
  const blocks = Math.max(least, ...depths);
  const also = [...depths].filter((depth) => depth < blocks).sort((a, b) => a - b);
  return { blocks, also, normed: all.some(({ normed }) => normed) };
}

/** In words, for cards. */
export function layerWords({ layer }: Pick<PoolingConfig, 'layer'>): string {
  if (typeof layer === 'number') return `layer ${layer}`;
  if (!('learned' in layer)) return `the average of layers ${layer.join(', ')}`;
  return `a learned mix of ${layer.learned === 'all' ? 'all layers' : `layers ${layer.learned.join(', ')}`}`;
}

/** Hidden states by depth, [..., D], as they come out of the blocks. */
export type StatesByDepth = (depth: number) => Tensor;

/** The chosen hidden states in their order, the last block's normed. */
export function normedStates(
  states: StatesByDepth,
  { depths, blocks, normed }: ChosenLayers,
  { params, config }: { readonly params: Params; readonly config: DecoderConfig },
): Tensor[] {
  const made = new Map<number, Tensor>();
  return depths.map((depth) => {
    const known = made.get(depth);
    if (known !== undefined) return known;
    const state = normed && depth === blocks ? lastHiddenState(params, states(depth), config) : states(depth);
    made.set(depth, state);
    return state;
  });
}

/** The average of hidden states, or the mix with learned shares: sum_l softmax(w)_l h_l (Peters et al. 2018, eq. 1, without its scale). */
export function mixStates(states: readonly Tensor[], weights: Tensor | undefined): Tensor {
  const [only] = states as [Tensor];
  if (weights === undefined) return states.length === 1 ? only : addN([...states]).div(states.length);
  const shares = softmax<Tensor>(weights);
  return addN(states.map((state, i) => state.mul(shares.slice([i], [1]))));
}
