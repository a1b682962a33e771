import type { Tensor } from '@tensorflow/tfjs';
import {
  compile,
  compileGradient,
  type CompiledFunction,
  type CompiledGradient,
} from '../compiler/compile.js';
import type { Tensors } from '../compiler/trace.js';
import type { KeysValues } from './attention.js';
import { DROPOUT } from './block-masks.js';
import { block, type BlockInput } from './block.js';
import { blockPrefix, type BlockConfig, type DecoderConfig } from './decoder-config.js';
import type { BlockDropout } from './layers.js';
import { PAST_KEY, PAST_VALUE } from './prefix.js';
import type { RouterOutput } from './router.js';
import type { RunnerOptions } from './runner.js';

/** The programs of one structure of blocks. */
export interface BlockPrograms {
  /** The block alone, for passes that keep nothing. */
  readonly inference: CompiledFunction;
  /** The same with its keys and values. */
  readonly keysValues: CompiledFunction;
  /** The same with what its router says; undefined where it has none. */
  readonly routed: CompiledFunction | undefined;
  readonly gradient: CompiledGradient;
  /** Trainable weights by their names without the layer's prefix. */
  readonly trainable: readonly string[];
}

/** One compiled block for each structure of a decoder: it serves all layers of the structure, whose weights are inputs. */
export function compileBlocks(options: RunnerOptions): BlockPrograms[] {
  const { decoder, pool, threads, policy = 'blockInputs', computePrecision = 'float32' } = options;
  const trainable = [...(options.trainable?.keys() ?? [])];
  const compiled = { pool, precision: computePrecision, ...(threads === undefined ? {} : { threads }) };
  return decoder.config.structures.map((config, structure) => {
    const local = localNames(decoder.config, structure, trainable);
    const fn = (inputs: Tensors): Tensor => blockFunction(structure, inputs, options);
    const withRouter = (inputs: Tensors): Tensors => {
      const heard: Record<string, Tensor> = {};
      const onRouter = (router: RouterOutput): void => void Object.assign(heard, router);
      const output = blockFunction(structure, inputs, { ...options, onRouter });
      return { output, ...heard };
    };
    const withKeysValues = (inputs: Tensors): Tensors => {
      const heard: Record<string, Tensor> = {};
      const onKeysValues = (own: KeysValues): void => void Object.assign(heard, own);
      const output = blockFunction(structure, inputs, { ...options, onKeysValues });
      return { output, ...heard };
    };
    return {
      trainable: local,
      gradient: compileGradient(fn, { ...compiled, policy, name: 'block', wrt: ['x', ...local] }),
      inference: compile((inputs) => ({ output: fn(inputs) }), { ...compiled, name: 'block' }),
      keysValues: compile(withKeysValues, { ...compiled, name: 'block with keys and values' }),
      routed:
        config.feedForward.kind === 'experts'
          ? compile(withRouter, { ...compiled, name: 'block with router' })
          : undefined,
    };
  });
}

export async function releasePrograms(programs: BlockPrograms): Promise<void> {
  const { inference, keysValues, routed, gradient } = programs;
  await inference.release();
  await keysValues.release();
  await routed?.release();
  await gradient.release();
}

/** The block as a function of its inputs by name; `onRouter` and `onKeysValues` hear what it computes on the way. */
function blockFunction(
  structure: number,
  inputs: Tensors,
  options: RunnerOptions & Pick<BlockInput, 'onKeysValues' | 'onRouter'>,
): Tensor {
  const {
    decoder,
    attentionDropout = 0,
    adapterDropout = 0,
    adapterScale = 0,
    onRouter,
    onKeysValues,
  } = options;
  const heard = {
    ...(onRouter === undefined ? {} : { onRouter }),
    ...(onKeysValues === undefined ? {} : { onKeysValues }),
  };
  const { x, mask, cos, sin } = inputs as { x: Tensor; mask: Tensor; cos?: Tensor; sin?: Tensor };
  const masks = Object.fromEntries(
    Object.entries(inputs)
      .filter(([name]) => name.startsWith(DROPOUT))
      .map(([name, tensor]) => [name.slice(DROPOUT.length), tensor]),
  );
  const dropout: BlockDropout | undefined =
    Object.keys(masks).length === 0
      ? undefined
      : { masks, keepAttention: 1 - attentionDropout, keepAdapter: 1 - adapterDropout };
  const { [PAST_KEY]: key, [PAST_VALUE]: value } = inputs;
  const past = key === undefined || value === undefined ? {} : { past: { key, value } };
  const turned = cos === undefined || sin === undefined ? undefined : { cos, sin };
  const config = decoder.config.structures[structure] as BlockConfig;
  return block(inputs, { x, mask, rotation: turned, dropout, adapterScale, ...past, ...heard }, config);
}

/** Trainable weights of the layers of one structure, by their names without the layer's prefix. */
function localNames(config: DecoderConfig, structure: number, trainable: readonly string[]): string[] {
  const first = config.layers.findIndex((layer) => layer.structure === structure);
  const prefix = blockPrefix(config, first);
  return trainable.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
}
