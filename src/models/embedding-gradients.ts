import { matMul, type Tensor } from '@tensorflow/tfjs';
import {
  compile,
  compileGradient,
  type CompiledFunction,
  type CompiledGradient,
} from '../compiler/compile.js';
import type { TensorPool } from '../compiler/pool.js';
import { floats, floatTensor, type HostTensor } from '../compiler/program.js';
import { ADDED_ROWS } from './added-tokens.js';
import type { DecoderConfig } from './decoder-config.js';
import { summedEmbeddings } from './embedding.js';
import type { GradientSink } from './gradient-sink.js';
import { normed, normShapes } from './norms.js';
import type { Tile } from './tiles.js';
import { embeddingShapes } from './weight-shapes.js';

/** Gradients of what makes the first block's input: tables are added to row by row, as no compiled gradient of a look-up does. */
export class EmbeddingGradients {
  private readonly projection: CompiledFunction;
  /** The sum before the norm and the norm's gradient, where there is one. */
  private readonly sum: CompiledFunction;
  private readonly norm: CompiledGradient;

  constructor(
    private readonly config: DecoderConfig,
    private readonly trainable: ReadonlySet<string>,
    private readonly options: { readonly pool: TensorPool; readonly threads?: number },
  ) {
    this.sum = compile(
      ({ inputIds, positions, ...tables }) => ({
        x: summedEmbeddings(tables, inputIds as Tensor, positions as Tensor, config),
      }),
      { ...options, name: 'embedding sum' },
    );
    this.norm = compileGradient(({ x, ...weights }) => normed(weights, x as Tensor, config.embedding.norm), {
      ...options,
      name: 'embedding norm',
      wrt: ['x', ...this.normWeights],
      policy: 'all',
    });
    // y = s x P^T: dx = s dy P, dP = s dy^T x; the former's s is in addRows.
    this.projection = compile(
      (inputs) => {
        const { dy, x, weight } = inputs as { dy: Tensor; x: Tensor; weight: Tensor };
        return { x: matMul(dy, weight), weight: matMul(dy, x, true).mul(config.embedding.scale ?? 1) };
      },
      { ...options, name: 'embedding projection' },
    );
  }

  /** Whether any of them is trained. */
  get any(): boolean {
    return (
      this.tableTrained || Object.keys(embeddingShapes(this.config)).some((name) => this.trainable.has(name))
    );
  }

  /** Whether rows of the table of tokens are trained, all of them or those of added tokens. */
  private get tableTrained(): boolean {
    return this.trainable.has(this.config.embedding.weight) || this.trainable.has(ADDED_ROWS);
  }

  private get normWeights(): string[] {
    const { norm } = this.config.embedding;
    return norm === undefined ? [] : Object.keys(normShapes(norm));
  }

  /** @param gradient by the first block's input, [R, T, D] */
  async add(
    tile: Tile,
    gradient: HostTensor,
    { sink, weight }: { readonly sink: GradientSink; readonly weight: (name: string) => HostTensor },
  ): Promise<void> {
    if (!this.any) return;
    if (this.config.embedding.norm === undefined) return this.addTables(tile, gradient, { sink, weight });
    const { inputIds, positions } = tile;
    const weights = Object.fromEntries(this.normWeights.map((name) => [name, weight(name)]));
    const tables = Object.keys(embeddingShapes(this.config)).filter((name) => !(name in weights));
    const { x } = await this.sum.run({
      inputIds,
      positions,
      ...Object.fromEntries(tables.map((name) => [name, weight(name)])),
    });
    const inputs = { x: x as HostTensor, ...weights };
    const { output, saved } = await this.norm.forward(inputs);
    const result = await this.norm.backward(inputs, saved, gradient);
    for (const name of this.normWeights)
      if (this.trainable.has(name)) sink.add(name, floats(result[name] as HostTensor));
    await this.addTables(tile, result['x'] as HostTensor, { sink, weight });
    this.options.pool.release(inputs.x, output, ...Object.values(result));
  }

  /** @param gradient by the sum of all tables' rows, [R, T, D] */
  private async addTables(
    tile: Tile,
    gradient: HostTensor,
    { sink, weight }: { readonly sink: GradientSink; readonly weight: (name: string) => HostTensor },
  ): Promise<void> {
    const { embedding, hidden_size: hidden } = this.config;
    const { positions: learned, segments, projection, width } = embedding;
    if (segments !== undefined && this.trainable.has(segments.weight)) {
      const rows = new Int32Array(tile.inputIds.data.length);
      const length = segments.rows * hidden;
      sink.addRows(segments.weight, rows, { length, values: floats(gradient), width: hidden, scale: 1 });
    }
    if (learned !== undefined && this.trainable.has(learned.weight)) {
      const rows = (tile.positions.data as Int32Array).map((position) => position + learned.offset);
      const length = learned.rows * hidden;
      sink.addRows(learned.weight, rows, { length, values: floats(gradient), width: hidden, scale: 1 });
    }
    const ids = tile.inputIds.data as Int32Array;
    if (projection === undefined) {
      this.addTokens(ids, floats(gradient), sink);
      return;
    }
    if (!this.trainable.has(projection) && !this.tableTrained) return;
    const table = floats(weight(embedding.weight));
    const x = this.options.pool.acquire([ids.length, width]);
    for (const [place, id] of ids.entries())
      floats(x).set(table.subarray(id * width, (id + 1) * width), place * width);
    const dy = floatTensor(floats(gradient), [ids.length, hidden]);
    const result = await this.projection.run({ dy, x, weight: weight(projection) });
    if (this.trainable.has(projection)) sink.add(projection, floats(result['weight'] as HostTensor));
    this.addTokens(ids, floats(result['x'] as HostTensor), sink);
    this.options.pool.release(x, ...Object.values(result));
  }

  /** @param values by each token's row times the scale, [R * T, width] */
  private addTokens(ids: Int32Array, values: Float32Array, sink: GradientSink): void {
    const { vocab_size: vocabulary, embedding } = this.config;
    const { weight, width, scale = 1, added } = embedding;
    if (this.trainable.has(weight)) {
      sink.addRows(weight, ids, { length: vocabulary * width, values, width, scale });
      return;
    }
    if (added === undefined || !this.trainable.has(ADDED_ROWS)) return;
    const { first, count } = added;
    const rows = ids.map((id) => (id >= first && id < first + count ? id - first : -1));
    sink.addRows(ADDED_ROWS, rows, { length: count * width, values, width, scale });
  }

  async dispose(): Promise<void> {
    await this.projection.release();
    await this.sum.release();
    await this.norm.release();
  }
}
