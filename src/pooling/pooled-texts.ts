import type { Tensor } from '@tensorflow/tfjs';
import { floats, floatTensor, type HostTensor } from '../compiler/program.js';
import type { Tensors } from '../compiler/trace.js';
import type { DecoderConfig } from '../models/decoder-config.js';
import type { LayerRouter } from '../models/runner.js';
import type { Tile } from '../models/tiles.js';
import { attentionMask } from '../models/attention.js';
import { mixStates, normedStates, type ChosenLayers } from './layers.js';
import type { Pooling } from './pooling.js';
import { poolPacked } from './registry.js';

/** Fewer texts than this are filled up with blank ones, and more to the next power of two: few shapes. */
const FEWEST_TEXTS = 8;

/** A tile's texts among the inputs of `poolingFunction`. */
export function textInputs(tile: Tile): Record<string, HostTensor> {
  return { membership: membershipOf(tile), segments: tile.segments, positions: tile.positions };
}

/** membership [N, L] of a tile for `poolPacked`: 1 where place l holds a pooled token of text n. N is rounded up by blank texts. */
function membershipOf(tile: Tile): HostTensor {
  const places = tile.rows * tile.tokensPerRow;
  const count = Math.max(FEWEST_TEXTS, 2 ** Math.ceil(Math.log2(Math.max(1, tile.texts.length))));
  const data = new Float32Array(count * places);
  for (const [n, { row, start, length }] of tile.texts.entries()) {
    const first = row * tile.tokensPerRow + start;
    for (let place = first; place < first + length; place++)
      data[n * places + place] = tile.poolMask[place] as number;
  }
  return floatTensor(data, [count, places]);
}

/** Name of a hidden state among the inputs of `poolingFunction`. */
const hiddenAt = (depth: number): string => `hidden:${depth}`;

/** The names of a tile's hidden states, the deepest first, then ascending: the order of `hidden` and `also` of a pass. */
export function hiddenNames({ blocks, also }: Pick<ChosenLayers, 'blocks' | 'also'>): readonly string[] {
  return [blocks, ...also].map(hiddenAt);
}

/** Name of what a layer's router says among the inputs of `poolingFunction`. */
const routerOf = (layer: number): string => `router:${layer}`;

/** Router logits of a tile by name, of the layers that are asked for. */
export function routerInputs(
  layers: ReadonlySet<number>,
  routers: readonly LayerRouter[],
): Record<string, HostTensor> {
  return Object.fromEntries(
    routers.filter(({ layer }) => layers.has(layer)).map(({ layer, logits }) => [routerOf(layer), logits]),
  );
}

/** A tile's hidden states by name. */
export function hiddenInputs(
  chosen: Pick<ChosenLayers, 'blocks' | 'also'>,
  { hidden, also }: { readonly hidden: HostTensor; readonly also: readonly HostTensor[] },
): Record<string, HostTensor> {
  const states = [hidden, ...also];
  return Object.fromEntries(hiddenNames(chosen).map((name, i) => [name, states[i] as HostTensor]));
}

/** Numbers of a pooling's own parameters from which on its programs hold no workspace between runs. */
const LARGE_POOLING = 1e6;

/** Compile options of a pooling: the gradients of large matrices are workspace of hundreds of megabytes, for each shape of a tile that a run meets. */
export function poolingWorkspace(poolings: readonly Pick<Pooling, 'parameterShapes'>[]): {
  readonly keepsWorkspace: boolean;
} {
  const shapes = poolings.flatMap(({ parameterShapes }) => [...(parameterShapes?.values() ?? [])]);
  const parameters = shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
  return { keepsWorkspace: parameters < LARGE_POOLING };
}

/** The traced function from a tile's hidden states to its embeddings [N, E], not normalised. */
export function poolingFunction(
  pooling: Pooling,
  { config, chosen }: { readonly config: DecoderConfig; readonly chosen: ChosenLayers },
): (inputs: Tensors) => Tensor {
  return (inputs) => {
    const states = normedStates((depth) => inputs[hiddenAt(depth)] as Tensor, chosen, {
      params: inputs,
      config,
    });
    const mask = (): Tensor =>
      attentionMask(inputs['segments'] as Tensor, inputs['positions'] as Tensor, { causal: false });
    const read = pooling.read?.(states, inputs, mask) ?? mixStates(states, undefined);
    const [rows, tokens, width] = read.shape as [number, number, number];
    return poolPacked(pooling, inputs, {
      hidden: read.reshape([rows * tokens, width]),
      membership: inputs['membership'] as Tensor,
      ...(pooling.routing === undefined
        ? {}
        : { routers: pooling.routing.layers.map((layer) => inputs[routerOf(layer)] as Tensor) }),
    });
  };
}

/** Copies a tile's embeddings [N, E] to their texts' rows in `data` [all texts, E]. */
export function scatterTexts(tile: Tile, embeddings: HostTensor, data: Float32Array): void {
  const width = embeddings.dims[1] as number;
  const values = floats(embeddings);
  for (const [n, { index }] of tile.texts.entries())
    data.set(values.subarray(n * width, (n + 1) * width), index * width);
}

/** The reverse of `scatterTexts`: a tile's rows of a gradient [all texts, E], zero for blank texts. */
export function gatherTexts(tile: Tile, data: Float32Array, target: HostTensor): void {
  const width = target.dims[1] as number;
  const values = floats(target).fill(0);
  for (const [n, { index }] of tile.texts.entries())
    values.set(data.subarray(index * width, (index + 1) * width), n * width);
}
