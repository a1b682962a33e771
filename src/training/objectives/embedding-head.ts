import { compileGradient, type CompiledGradient, type HostTensors } from '../../compiler/compile.js';
import { floats, type HostTensor } from '../../compiler/program.js';
import type { Pass } from '../../models/runner.js';
import type { GradientSink } from '../../models/gradient-sink.js';
import { outputShapes } from '../../models/weight-shapes.js';
import { chosenLayers, type ChosenLayers } from '../../pooling/layers.js';
import {
  gatherTexts,
  hiddenInputs,
  hiddenNames,
  poolingFunction,
  poolingWorkspace,
  scatterTexts,
  textInputs,
} from '../../pooling/pooled-texts.js';
import { createPooling } from '../../pooling/registry.js';
import type { ObjectiveContext } from './objective.js';

interface PooledTile {
  readonly inputs: HostTensors;
  readonly saved: HostTensors;
  readonly output: HostTensor;
}

/** Embeddings of a pass, and what their gradient needs. */
export interface PooledPass {
  /** [N, E], row-major, in the order of the texts' indices. */
  readonly embeddings: Float32Array;
  readonly tiles: readonly PooledTile[];
}

/** Final norm and pooling of every tile, and back: from hidden states to embeddings, from their gradients to those of hidden states. */
export class EmbeddingHead {
  /** Blocks that the hidden states have to go through, and those below whose hidden states are read too. */
  readonly blocks: number;
  readonly also: readonly number[];
  /** E */
  readonly width: number;
  private readonly chosen: ChosenLayers;
  private readonly program: CompiledGradient;
  private readonly trainedNames: readonly string[];
  /** Weights between the last block and the states that are pooled. */
  private readonly outputNames: readonly string[];

  constructor(private readonly context: ObjectiveContext) {
    const { decoder, recipe, pool, threads, trained, poolingTensors } = context;
    const { config } = decoder;
    const chosen = chosenLayers(recipe.pooling, config.num_hidden_layers);
    this.chosen = chosen;
    this.blocks = chosen.blocks;
    this.also = chosen.also;
    this.outputNames = chosen.normed ? Object.keys(outputShapes(config)) : [];
    this.trainedNames = [...this.outputNames, ...Object.keys(poolingTensors)].filter((name) =>
      trained.has(name),
    );
    const pooling = createPooling(recipe.pooling, config);
    this.width = pooling.dimensions ?? config.hidden_size;
    this.program = compileGradient(poolingFunction(pooling, { config, chosen }), {
      name: 'pooling',
      pool,
      wrt: [...hiddenNames(chosen), ...this.trainedNames],
      policy: 'all',
      ...poolingWorkspace([pooling]),
      ...(threads === undefined ? {} : { threads }),
    });
  }

  async forward(pass: Pass, texts: number): Promise<PooledPass> {
    const { runner, poolingTensors } = this.context;
    const embeddings = new Float32Array(texts * this.width);
    const tiles: PooledTile[] = [];
    for (const state of pass.tiles) {
      const { tile } = state;
      const weights = Object.fromEntries(this.outputNames.map((name) => [name, runner.weight(name)]));
      const inputs = {
        ...hiddenInputs(this.chosen, state),
        ...textInputs(tile),
        ...weights,
        ...poolingTensors,
      };
      const { output, saved } = await this.program.forward(inputs);
      scatterTexts(tile, output, embeddings);
      tiles.push({ inputs, saved, output });
    }
    return { embeddings, tiles };
  }

  /** Gradients by the hidden states of each tile, in the order that `Runner.backward` takes; those of trained parameters go to `sink`. Consumes the pooled pass. */
  async backward(
    pass: Pass,
    pooled: PooledPass,
    { gradient, sink }: { readonly gradient: Float32Array; readonly sink: GradientSink },
  ): Promise<HostTensor[]> {
    const { pool } = this.context;
    const hiddenGradients: HostTensor[] = [];
    for (const [index, { tile }] of pass.tiles.entries()) {
      const { inputs, saved, output } = pooled.tiles[index] as PooledTile;
      // The output's memory is free to carry its gradient.
      gatherTexts(tile, gradient, output);
      const gradients = await this.program.backward(inputs, saved, output);
      hiddenGradients.push(...hiddenNames(this.chosen).map((name) => gradients[name] as HostTensor));
      const trained = this.trainedNames.map((name) => [name, gradients[name] as HostTensor] as const);
      for (const [name, values] of trained) sink.add(name, floats(values));
      pool.release(output, ...trained.map(([, values]) => values));
    }
    return hiddenGradients;
  }

  /** Gives back what a pass without a backward pass holds. */
  discard(pooled: PooledPass): void {
    const { pool } = this.context;
    for (const { output, saved } of pooled.tiles) pool.release(output, ...Object.values(saved));
  }

  async dispose(): Promise<void> {
    await this.program.release();
  }
}
