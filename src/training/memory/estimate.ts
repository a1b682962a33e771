import type { ComputePrecision } from '../../compiler/precision.js';
import type { SavePolicy } from '../../compiler/split.js';
import type { Batch } from '../../data/batch.js';
import { layerOf } from '../../models/decoder-config.js';
import type { Decoder } from '../../models/decoder.js';
import { HELD_CHARACTERS } from '../../data/text-list.js';
import { maskKinds, maskName } from '../../models/layer-masks.js';
import { loraShapes } from '../../models/lora.js';
import { tokensOfTile } from '../../models/parallel-runner.js';
import { isPacked, residentBytes } from '../../models/resident.js';
import type { TuningConfig } from '../../models/schema.js';
import type { Tile } from '../../models/tiles.js';
import { biasNames } from '../../models/weight-shapes.js';
import type { EmbeddingRecipe } from '../../pooling/embedding-model.js';
import { chosenLayers } from '../../pooling/layers.js';
import { createPooling } from '../../pooling/registry.js';
import type { DecoderStageConfig } from '../schema.js';
import { trainsRows } from '../trained-weights.js';
import { evaluatedBatches, expectedBatches, tilesOfRunners } from './batches.js';
import { BlockMeasure, type BlockBytes } from './block-bytes.js';
import { poolingBytes, vocabularyBytes, type PoolingBytes } from './head-bytes.js';

export interface MemorySizing {
  readonly decoder: Decoder;
  readonly tuning: TuningConfig;
  readonly stage: DecoderStageConfig;
  readonly recipe: EmbeddingRecipe;
  /** Tokens of some texts as the stage sees them. */
  readonly lengths: readonly number[];
  readonly threads: number;
  /** Default float32. */
  readonly computePrecision?: ComputePrecision;
  /** Where the run's evaluations cut texts; `recipe.maxTokens` where it is left out. */
  readonly evaluatedTokens?: number;
  /** Of the training texts. */
  readonly characters?: number | undefined;
}

/** What of speed is given up for memory. */
export interface MemoryPlan {
  readonly policy: SavePolicy;
  /** Copies of the weights: 1, or one for each runner where every runner has a thread of its own. */
  readonly copies: number;
}

/** Measured: Node, the program's own code, ONNX Runtime's library. */
const PROCESS_BYTES = 165e6;
/** Measured: a token's entry in the tokenizer and its merges; a character of a text that is held (of many, they lie on disk). */
const ENTRY_BYTES = 600;
const CHARACTER_BYTES = 2.2;
/** Measured: a further thread, with Node and the program's own code. */
const THREAD_BYTES = 60e6;
/** Measured: a compiled program without its workspace. */
const PROGRAM_BYTES = 0.6e6;

/** A step's tiles, by runner. */
type Step = readonly (readonly Tile[])[];

/** What a stage takes at its peak, part by part. */
export interface MemoryParts extends Readonly<Record<string, number>> {
  readonly process: number;
  /** All copies. */
  readonly weights: number;
  /** Trained parameters, their gradients and moments. */
  readonly trained: number;
  /** What a step keeps for its backward pass. */
  readonly kept: number;
  /** Workspace of the programs of training, and of evaluation. */
  readonly workspace: number;
  readonly head: number;
}

/** Estimates for one stage under several plans: what is traced for one serves the others. */
export class MemoryEstimator {
  private readonly blocks: BlockMeasure;
  private readonly training: readonly Batch[][];
  private readonly evaluation: readonly Batch[][];
  /** Nothing goes backward through the blocks. */
  private readonly frozen: boolean;

  constructor(private readonly sizing: MemorySizing) {
    const { decoder, tuning, stage, recipe, lengths } = sizing;
    this.blocks = new BlockMeasure(decoder.config, tuning, stage.attentionDropout);
    this.frozen = tuning.type === 'none' && !trainsRows(sizing);
    this.training = expectedBatches(stage, lengths);
    this.evaluation = evaluatedBatches(sizing.evaluatedTokens ?? recipe.maxTokens);
  }

  /** Bytes that the stage is expected to take at its peak. */
  bytes(plan: MemoryPlan): number {
    const { process, weights, trained, kept, workspace, head } = this.parts(plan);
    return process + weights + trained + kept + workspace + head;
  }

  parts(plan: MemoryPlan): MemoryParts {
    const { copies, policy } = plan;
    const { decoder, threads, computePrecision = 'float32' } = this.sizing;
    const tileTokens = tokensOfTile({ threads, copies, policy });
    const tiled = (steps: readonly Batch[][]): Step[] =>
      steps.map((step) => tilesOfRunners(step, { copies, tileTokens }));
    const training = tiled(this.training);
    const evaluation = tiled(this.evaluation);
    const workspace = this.workspace(training, evaluation, plan);
    const head = this.head(training);
    return {
      process: this.processBytes() + (copies - 1) * THREAD_BYTES + workspace.programs * PROGRAM_BYTES,
      weights:
        weightBytes(decoder, copies) + (computePrecision === 'float32' ? 0 : copies * this.halfBytes()),
      trained: this.trained(copies),
      kept: Math.max(...training.map((step) => this.kept(step, policy) + head.saved(step))),
      workspace: workspace.bytes,
      head: head.bytes,
    };
  }

  /** Frozen matrices of blocks as they are fed, beside those that are saved and merged. */
  private halfBytes(): number {
    const { decoder, tuning } = this.sizing;
    if (tuning.type === 'full') return 0;
    let bytes = 0;
    for (const [name, weight] of decoder.weights) {
      const isMatrix = decoder.shapes.get(name)?.length === 2 && layerOf(decoder.config, name) !== undefined;
      if (isMatrix && !isPacked(weight)) bytes += 2 * weight.length;
    }
    return bytes;
  }

  private processBytes(): number {
    const { decoder, characters = 0 } = this.sizing;
    const held = characters <= HELD_CHARACTERS ? characters : 0;
    return PROCESS_BYTES + ENTRY_BYTES * decoder.config.vocab_size + CHARACTER_BYTES * held;
  }

  /** Blocks that the stage's texts go through: those up to the layer that is pooled. */
  private get depth(): number {
    const { decoder, stage, recipe } = this.sizing;
    const all = decoder.config.num_hidden_layers;
    if (stage.objective === 'mntp' || stage.objective === 'causalLm') return all;
    return chosenLayers(recipe.pooling, all).blocks;
  }

  /** Full tuning and BitFit train the weights themselves; a thread sends gradients, gets parameters and has adapters of its own. */
  private trained(copies: number): number {
    const { decoder, tuning } = this.sizing;
    const { added, width } = decoder.config.embedding;
    const rows = trainsRows(this.sizing) ? (added?.count ?? 0) * width : 0;
    // Rows of added tokens lie in their table.
    const ofRows = 4 * rows * (3 + 2 * (copies - 1));
    if (tuning.type === 'none') return ofRows;
    const own = tuning.type === 'lora';
    const count = sizeOf(trainedShapes(decoder, tuning));
    const arrays = (own ? 4 : 3) + (copies - 1) * (own ? 3 : 2);
    // The gradients of one block's weights, of each runner, before they are added up.
    const block = own ? 0 : (copies * count) / decoder.config.num_hidden_layers;
    return 4 * (arrays * count + block) + ofRows;
  }

  /** What all runners keep of a step's tiles at once. */
  private kept(step: Step, policy: SavePolicy): number {
    const { config } = this.sizing.decoder;
    const layers = config.layers.slice(0, this.depth);
    const width = 4 * config.hidden_size;
    const masks = new Set(maskKinds(config, this.sizing.recipe).map(maskName)).size;
    return step.flat().reduce((sum, { rows, tokensPerRow }) => {
      const tokens = rows * tokensPerRow;
      const prelude = 4 * masks * tokens * tokensPerRow;
      // The gradient by the hidden states, and by those of the block before.
      if (this.frozen) return sum + prelude + 3 * tokens * width;
      const states = (layers.length + 3) * tokens * width;
      const blocks = layers.reduce((all, { structure }) => {
        const { saved, masks: own } = this.blocks.of(structure, { rows, tokens: tokensPerRow, policy });
        return all + saved + (policy === 'all' ? own : 0);
      }, 0);
      return sum + prelude + states + blocks;
    }, 0);
  }

  /** Workspace stays with a program, and every shape has its own: all shapes that a run meets, of every runner. */
  private workspace(
    training: readonly Step[],
    evaluation: readonly Step[],
    { policy }: MemoryPlan,
  ): { readonly bytes: number; readonly programs: number } {
    const { config } = this.sizing.decoder;
    let bytes = 0;
    let programs = 0;
    const add = (steps: readonly Step[], parts: readonly (keyof BlockBytes)[]): void => {
      for (const shape of shapesOf(steps)) {
        for (const structure of config.structures.keys()) {
          const block = this.blocks.of(structure, { ...shape, policy });
          for (const part of parts) bytes += block[part];
          programs += parts.length;
        }
      }
    };
    add(training, this.frozen ? ['inference'] : ['forward', 'backward']);
    add(evaluation, ['inference']);
    // Norm and pooling, or prelude, of each shape.
    programs += shapesOf([...training, ...evaluation]).length * 2;
    return { bytes, programs };
  }

  private head(training: readonly Step[]): { readonly bytes: number; saved(step: Step): number } {
    const { decoder, tuning, stage, recipe } = this.sizing;
    const trained = tuning.type === 'full';
    if (stage.objective === 'mntp' || stage.objective === 'causalLm') {
      const tokens = Math.max(...this.training.map(tokensOf));
      const targets = stage.objective === 'mntp' ? tokens * stage.maskRatio : tokens;
      return { bytes: vocabularyBytes(decoder, { targets, trained }), saved: () => 0 };
    }
    // Bytes are taken as linear in the tokens of a tile: the largest one is traced.
    const tiles = training.flat(2);
    const largest = tiles.reduce((a, b) => (sizeOfTile(b) > sizeOfTile(a) ? b : a));
    const own: PoolingBytes = poolingBytes(largest, { decoder, recipe, trained });
    const { also } = chosenLayers(recipe.pooling, decoder.config.num_hidden_layers);
    const perToken = own.saved / sizeOfTile(largest) + 8 * also.length * decoder.config.hidden_size;
    const shapes = shapesOf(training).reduce((sum, { rows, tokens }) => sum + rows * tokens, 0);
    const parameters = sizeOf(createPooling(recipe.pooling, decoder.config).parameterShapes?.values() ?? []);
    const held = own.keepsWorkspace ? shapes / sizeOfTile(largest) : 1;
    return {
      // The parameters, their moments, the sum of their gradients and a tile's own.
      bytes: own.workspace * held + 20 * parameters,
      saved: (step) => step.flat().reduce((sum, tile) => sum + sizeOfTile(tile) * perToken, 0),
    };
  }
}

/** Weights in memory: packed ones once, float32 and the block that is expanded for every copy. */
function weightBytes({ config, weights }: Decoder, copies: number): number {
  let bytes = 0;
  const expanded = new Array<number>(config.num_hidden_layers).fill(0);
  for (const [name, weight] of weights) {
    const { shared, own } = residentBytes(weight);
    bytes += shared + own * copies;
    const layer = isPacked(weight) ? layerOf(config, name) : undefined;
    if (layer !== undefined) expanded[layer] = (expanded[layer] ?? 0) + 4 * weight.length;
  }
  return bytes + copies * Math.max(0, ...expanded);
}

interface Shape {
  readonly rows: number;
  readonly tokens: number;
}

/** The shapes of each runner's tiles. */
function shapesOf(steps: readonly Step[]): Shape[] {
  const shapes = new Map<string, Shape>();
  for (const step of steps) {
    for (const [runner, tiles] of step.entries()) {
      for (const { rows, tokensPerRow: tokens } of tiles)
        shapes.set(`${runner} ${tokens} ${rows}`, { rows, tokens });
    }
  }
  return [...shapes.values()];
}

function sizeOfTile({ rows, tokensPerRow }: Tile): number {
  return rows * tokensPerRow;
}

function tokensOf(batches: readonly Batch[]): number {
  return batches.reduce((sum, { rows, tokensPerRow }) => sum + rows * tokensPerRow, 0);
}

function sizeOf(shapes: Iterable<readonly number[]>): number {
  return [...shapes].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

function trainedShapes(
  { config, shapes }: Decoder,
  tuning: Exclude<TuningConfig, { type: 'none' }>,
): Iterable<readonly number[]> {
  if (tuning.type === 'lora') return loraShapes(config, tuning).values();
  if (tuning.type === 'full') return shapes.values();
  return biasNames(config, shapes.keys()).map((name) => shapes.get(name) ?? []);
}
