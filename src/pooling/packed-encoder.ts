import { compile, type CompiledFunction, type HostTensors } from '../compiler/compile.js';
import type { Device } from '../compiler/device.js';
import type { ComputePrecision } from '../compiler/precision.js';
import { TensorPool } from '../compiler/pool.js';
import { floatTensor, type HostTensor } from '../compiler/program.js';
import type { Tensors } from '../compiler/trace.js';
import type { TokenizedText } from '../data/batch.js';
import { packTexts } from '../data/packing.js';
import { createTokenizer } from '../data/tokenizer.js';
import { endTokens, GreedyDecoder } from '../models/greedy.js';
import { createRunner } from '../models/parallel-runner.js';
import { dependsOnLength } from '../models/rope.js';
import type { Pass, Runner } from '../models/runner.js';
import { outputShapes } from '../models/weight-shapes.js';
import { internalError } from '../shared/errors.js';
import { answerStates } from './answers.js';
import { constantPrefix, recipePreparer, type EmbeddingModel } from './embedding-model.js';
import { chosenLayers, joinedLayers } from './layers.js';
import {
  hiddenInputs,
  poolingFunction,
  poolingWorkspace,
  routerInputs,
  scatterTexts,
  textInputs,
} from './pooled-texts.js';
import { createPooling, generatedTokens, savedShapes } from './registry.js';
import type { PoolingConfig } from './schema.js';

/** Tokens that go through the decoder together: enough for full rows, few enough for little memory. */
const GROUP_TOKENS = 4096;

/** Embeddings [rows, dimensions], row-major, L2-normalised where asked. */
export interface Embeddings {
  readonly rows: number;
  readonly dimensions: number;
  readonly data: Float32Array;
}

export interface PackedEncoderOptions {
  readonly runner: Runner;
  readonly model: Pick<EmbeddingModel, 'decoder' | 'recipe'>;
  /** Parameters of the pooling as tensors. */
  readonly poolingTensors: HostTensors;
  readonly pool: TensorPool;
  readonly threads?: number;
  /** The beginning of texts whose keys and values are computed once (`constantPrefix`); texts that begin otherwise are left whole. */
  readonly prefix?: Int32Array | undefined;
  /** Further poolings, of any layers, from the same pass through the decoder: see `encodeAll`. */
  readonly furtherPoolings?: readonly PoolingConfig[];
  /** Of a recipe that generates: the tokens that end an answer, and whether keys and values are kept (default true). */
  readonly answers?: { readonly ends: ReadonlySet<number>; readonly cache?: boolean };
}

/** Embeds tokenised texts in packed rows: no padding is multiplied. The runner may be one that is being trained. */
export class PackedEncoder {
  private readonly pooled: CompiledFunction;
  /** Numbers of an embedding of each pooling. */
  private readonly widths: readonly number[];
  private readonly chosen: ReturnType<typeof joinedLayers>;
  /** Layers whose routers are read. */
  private readonly routed: ReadonlySet<number>;
  /** Where hidden states of an answer are pooled instead of the text's own. */
  private readonly greedy: GreedyDecoder | undefined;

  constructor(private readonly options: PackedEncoderOptions) {
    const { decoder, recipe } = options.model;
    const { config } = decoder;
    const poolings = [recipe.pooling, ...(options.furtherPoolings ?? [])].map((pooling) => ({
      ...createPooling(pooling, config),
      chosen: chosenLayers(pooling, config.num_hidden_layers),
    }));
    this.routed = new Set(poolings.flatMap(({ routing }) => routing?.layers ?? []));
    this.chosen = joinedLayers(
      poolings.map(({ chosen }) => chosen),
      // The deepest router that is read lies in a block that has to be gone through; a token is made behind the last.
      generatedTokens(recipe.pooling) > 1 ? config.num_hidden_layers : Math.max(-1, ...this.routed) + 1,
    );
    this.greedy = this.createGreedy();
    const functions = poolings.map((pooling) => poolingFunction(pooling, { config, chosen: pooling.chosen }));
    this.widths = poolings.map(({ dimensions }) => dimensions ?? config.hidden_size);
    const all = (inputs: Tensors): Tensors =>
      Object.fromEntries(functions.map((fn, index) => [`embedding:${index}`, fn(inputs)]));
    this.pooled = compile(all, {
      name: 'pooling',
      pool: options.pool,
      ...poolingWorkspace(poolings),
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    });
  }

  /** Embeddings in the order of `texts`, not normalised. `onGroup` hears how many texts are done. */
  async encode(texts: readonly TokenizedText[], onGroup?: (done: number) => void): Promise<Embeddings> {
    return (await this.encodeAll(texts, onGroup))[0] as Embeddings;
  }

  /** The same by each pooling: the recipe's, then the further ones. */
  async encodeAll(texts: readonly TokenizedText[], onGroup?: (done: number) => void): Promise<Embeddings[]> {
    const data = this.widths.map((width) => new Float32Array(texts.length * width));
    let done = 0;
    for (const { group, prefix } of this.groups(texts)) {
      const rows = this.widths.map((width) => new Float32Array(group.length * width));
      const members = group.map((index) => texts[index] as TokenizedText);
      if (this.greedy === undefined) await this.poolTexts(members, prefix, rows);
      else await this.poolAnswers(members, this.greedy, rows);
      for (const [pooling, values] of rows.entries()) {
        const width = this.widths[pooling] as number;
        for (const [position, index] of group.entries())
          data[pooling]?.set(values.subarray(position * width, (position + 1) * width), index * width);
      }
      done += group.length;
      onGroup?.(done);
    }
    return data.map((values, pooling) => ({
      rows: texts.length,
      dimensions: this.widths[pooling] as number,
      data: values,
    }));
  }

  /** Embeddings of a group's texts into `rows`, one array a pooling. */
  private async poolTexts(
    group: readonly TokenizedText[],
    prefix: Int32Array | undefined,
    rows: readonly Float32Array[],
  ): Promise<void> {
    const { runner, model } = this.options;
    const { blocks, also } = this.chosen;
    const batches = packTexts(
      group.map((text) => behindPrefix(text, prefix)),
      { maxTokens: Math.max(1, model.recipe.maxTokens - (prefix?.length ?? 0)) },
    );
    const pass = await runner.forward(batches, {
      keep: false,
      layers: blocks,
      also,
      ...(this.routed.size === 0 ? {} : { routers: true }),
      ...(prefix === undefined ? {} : { prefix }),
    });
    for (const state of pass.tiles) await this.poolTile(state, rows);
    runner.release(pass);
  }

  /** The same of what the decoder answers to them. */
  private async poolAnswers(
    group: readonly TokenizedText[],
    greedy: GreedyDecoder,
    rows: readonly Float32Array[],
  ): Promise<void> {
    const { pool } = this.options;
    const answers = await greedy.answer(group.map(({ ids }) => ids));
    const state = answerStates(answers, this.chosen, pool);
    await this.poolTile(state, rows);
    pool.release(state.hidden, ...state.also);
  }

  private async poolTile(state: Pass['tiles'][number], rows: readonly Float32Array[]): Promise<void> {
    const { runner, pool, poolingTensors, model } = this.options;
    const { tile } = state;
    const output = this.chosen.normed ? Object.keys(outputShapes(model.decoder.config)) : [];
    const embeddings = await this.pooled.run({
      ...hiddenInputs(this.chosen, state),
      ...routerInputs(this.routed, state.routers ?? []),
      ...textInputs(tile),
      ...Object.fromEntries(output.map((name) => [name, runner.weight(name)])),
      ...poolingTensors,
    });
    for (const [index, values] of rows.entries())
      scatterTexts(tile, embeddings[`embedding:${index}`] as HostTensor, values);
    pool.release(...Object.values(embeddings));
  }

  private createGreedy(): GreedyDecoder | undefined {
    const { runner, model, pool, threads, answers } = this.options;
    const tokens = generatedTokens(model.recipe.pooling);
    if (tokens === 1) return undefined;
    if (answers === undefined) throw internalError('a recipe that generates without its end tokens');
    return new GreedyDecoder({
      ...{ runner, decoder: model.decoder, pool, tokens, ...answers, also: this.chosen.also },
      ...(threads === undefined ? {} : { threads }),
    });
  }

  /** Groups of texts that begin with the prefix, then of those that do not. */
  private groups(
    texts: readonly TokenizedText[],
  ): { readonly group: number[]; readonly prefix?: Int32Array }[] {
    const { prefix } = this.options;
    const all = texts.map((_, index) => index);
    if (prefix === undefined) return groupsOf(texts, all).map((group) => ({ group }));
    const [begin, other] = [true, false].map((wanted) =>
      all.filter((index) => beginsWith(texts[index] as TokenizedText, prefix) === wanted),
    ) as [number[], number[]];
    return [
      ...groupsOf(texts, begin).map((group) => ({ group, prefix })),
      ...groupsOf(texts, other).map((group) => ({ group })),
    ];
  }

  async dispose(): Promise<void> {
    await this.greedy?.dispose();
    await this.pooled.release();
  }
}

/** Texts of like length together, each group about `GROUP_TOKENS` tokens. */
function groupsOf(texts: readonly TokenizedText[], members: readonly number[]): number[][] {
  const order = [...members].sort((a, b) => lengthOf(texts, b) - lengthOf(texts, a) || a - b);
  const groups: number[][] = [];
  let group: number[] = [];
  let tokens = 0;
  for (const index of order) {
    group.push(index);
    tokens += lengthOf(texts, index);
    if (tokens < GROUP_TOKENS) continue;
    groups.push(group);
    group = [];
    tokens = 0;
  }
  if (group.length > 0) groups.push(group);
  return groups;
}

function lengthOf(texts: readonly TokenizedText[], index: number): number {
  return (texts[index] as TokenizedText).ids.length;
}

function beginsWith({ ids, pool }: TokenizedText, prefix: Int32Array): boolean {
  return (
    ids.length > prefix.length &&
    prefix.every((id, i) => ids[i] === id) &&
    !pool.subarray(0, prefix.length).includes(1)
  );
}

function behindPrefix(text: TokenizedText, prefix: Int32Array | undefined): TokenizedText {
  if (prefix === undefined) return text;
  return { ids: text.ids.subarray(prefix.length), pool: text.pool.subarray(prefix.length) };
}

/** Divides every row by its Euclidean norm, in place. */
export function normaliseRows({ rows, dimensions, data }: Embeddings): void {
  for (let row = 0; row < rows; row++) {
    const values = data.subarray(row * dimensions, (row + 1) * dimensions);
    let sum = 0;
    for (const value of values) sum += value * value;
    const inverse = 1 / Math.max(Math.sqrt(sum), 1e-12);
    for (let i = 0; i < dimensions; i++) values[i] = (values[i] as number) * inverse;
  }
}

/** An embedding model that is ready to embed texts. */
export interface ModelEncoder {
  /** The same texts by each pooling: the recipe's, then the further ones. */
  encodeAll(texts: readonly string[]): Promise<Embeddings[]>;
  /** Embeddings [N, E], L2-normalised unless asked otherwise. `where` names a text in errors. */
  encode(texts: readonly string[], options?: EncodeOptions): Promise<Embeddings>;
  /** The same of texts that are tokenised already. */
  encodeTokens(texts: readonly TokenizedText[], options?: Omit<EncodeOptions, 'where'>): Promise<Embeddings>;
  dispose(): Promise<void>;
}

export interface EncodeOptions {
  readonly normalise?: boolean;
  readonly where?: (index: number) => string;
  readonly onProgress?: (done: number) => void;
}

/** Sets a model up for inference in packed rows. */
export function createModelEncoder(
  model: EmbeddingModel,
  options: {
    readonly threads?: number;
    readonly device?: Device;
    readonly computePrecision?: ComputePrecision;
    readonly furtherPoolings?: readonly PoolingConfig[];
    /** Whether a constant beginning of the prompt is computed once (default true). */
    readonly prefix?: boolean;
    /** Whether an answer's keys and values are kept from token to token (default true). */
    readonly cache?: boolean;
    /** Copies of the weights, at most: 1 is slower and takes the least memory (default: the fastest). */
    readonly copies?: number;
  } = {},
): ModelEncoder {
  const pool = new TensorPool(options.device);
  const runner = createRunner({
    decoder: model.decoder,
    attention: model.recipe.attention,
    window: model.recipe.window,
    pool,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(options.computePrecision === undefined ? {} : { computePrecision: options.computePrecision }),
    ...(options.copies === undefined ? {} : { copies: options.copies }),
  });
  const shapes = savedShapes(model.recipe.pooling, model.decoder.config);
  const poolingTensors = Object.fromEntries(
    [...model.poolingParameters].map(([name, data]) => [
      name,
      floatTensor(data, shapes.get(name) ?? [data.length]),
    ]),
  );
  for (const tensor of Object.values(poolingTensors)) pool.markConstant(tensor);
  const tokenizer = createTokenizer(model.decoder.tokenizer.json, model.decoder.tokenizer.config);
  const { readsAllTokens } = createPooling(model.recipe.pooling, model.decoder.config);
  // Where the rotation depends on the text's length, the prefix is another one in every text.
  const reusable =
    readsAllTokens !== true &&
    generatedTokens(model.recipe.pooling) === 1 &&
    !Object.values(model.decoder.config.ropes).some(dependsOnLength);
  const prefix = options.prefix === false || !reusable ? undefined : constantPrefix(model.recipe, tokenizer);
  const answers = {
    ends: endTokens(model.decoder, tokenizer.eosTokenId),
    ...(options.cache === undefined ? {} : { cache: options.cache }),
  };
  const encoder = new PackedEncoder({ ...options, runner, model, poolingTensors, pool, prefix, answers });
  const prepare = recipePreparer(model.recipe, tokenizer);
  const encodeTokens: ModelEncoder['encodeTokens'] = async (texts, { normalise = true, onProgress } = {}) => {
    const embeddings = await encoder.encode(texts, onProgress);
    if (normalise) normaliseRows(embeddings);
    return embeddings;
  };
  return {
    encode: (texts, { where, ...options } = {}) =>
      encodeTokens(
        texts.map((text, index) => prepare(text, where?.(index))),
        options,
      ),
    encodeTokens,
    encodeAll: async (texts) => {
      const all = await encoder.encodeAll(texts.map((text) => prepare(text)));
      all.forEach(normaliseRows);
      return all;
    },
    dispose: async () => {
      await encoder.dispose();
      await runner.dispose();
      pool.clear();
    },
  };
}
