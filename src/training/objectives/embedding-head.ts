import { compileGradient, type CompiledGradient, type HostTensors } from '../../compiler/compile.js';
import { floats, type HostTensor } from '../../compiler/program.js';
import { FINAL_NORM } from '../../models/llama.js';
import type { GradientSink, Pass } from '../../models/runner.js';
import { blocksOf } from '../../pooling/embedding-model.js';
import { gatherTexts, membershipOf, poolingFunction, scatterTexts } from '../../pooling/pooled-texts.js';
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
  readonly blocks: number;
  private readonly program: CompiledGradient;
  private readonly trainedNames: readonly string[];
  private readonly normed: boolean;

  constructor(private readonly context: ObjectiveContext) {
    const { decoder, recipe, pool, threads, trained, poolingTensors } = context;
    const { blocks, normed } = blocksOf(recipe.pooling.layer, decoder.config.num_hidden_layers);
    this.blocks = blocks;
    this.normed = normed;
    this.trainedNames = [...(normed ? [FINAL_NORM] : []), ...Object.keys(poolingTensors)].filter((name) =>
      trained.has(name),
    );
    const pooling = createPooling(recipe.pooling, decoder.config.hidden_size);
    this.program = compileGradient(poolingFunction(pooling, { config: decoder.config, normed }), {
      name: 'pooling',
      pool,
      wrt: ['hidden', ...this.trainedNames],
      policy: 'all',
      ...(threads === undefined ? {} : { threads }),
    });
  }

  get width(): number {
    return this.context.decoder.config.hidden_size;
  }

  async forward(pass: Pass, texts: number): Promise<PooledPass> {
    const { runner, poolingTensors } = this.context;
    const embeddings = new Float32Array(texts * this.width);
    const tiles: PooledTile[] = [];
    for (const { tile, hidden } of pass.tiles) {
      const norm = this.normed ? { [FINAL_NORM]: runner.weight(FINAL_NORM) } : {};
      const inputs = { hidden, membership: membershipOf(tile), ...norm, ...poolingTensors };
      const { output, saved } = await this.program.forward(inputs);
      scatterTexts(tile, output, embeddings);
      tiles.push({ inputs, saved, output });
    }
    return { embeddings, tiles };
  }

  /** Gradients by the hidden states of each tile; those of trained parameters go to `sink`. Consumes the pooled pass. */
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
      const { hidden, ...trained } = await this.program.backward(inputs, saved, output);
      hiddenGradients.push(hidden as HostTensor);
      for (const [name, values] of Object.entries(trained)) sink.add(name, floats(values));
      pool.release(output, ...Object.values(trained));
    }
    return hiddenGradients;
  }

  async dispose(): Promise<void> {
    await this.program.release();
  }
}
