import { compile, type CompiledFunction, type HostTensors } from '../compiler/compile.js';
import { floats, intTensor, type HostTensor } from '../compiler/program.js';
import type { Batch } from '../data/batch.js';
import { padTexts } from '../data/packing.js';
import { internalError } from '../shared/errors.js';
import { BlockMasks, type DropoutContext } from './block-masks.js';
import { compileBlocks, releasePrograms, type BlockPrograms } from './block-programs.js';
import { blockPrefix } from './decoder-config.js';
import { EmbeddingGradients } from './embedding-gradients.js';
import { maskKind, maskKinds, maskName } from './layer-masks.js';
import { PAST_KEY, PAST_VALUE, PrefixCache, type PrefixStates } from './prefix.js';
import { prelude, PREFIX } from './prelude.js';
import { addTo, type GradientSink } from './gradient-sink.js';
import { pastMasks, type RowPast } from './row-past.js';
import { RunnerWeights } from './runner-weights.js';
import type { ForwardOptions, LayerRouter, Pass, Runner, RunnerOptions } from './runner.js';
import { tilesOf, type Tile } from './tiles.js';

interface TileState {
  readonly tile: Tile;
  /** mask:MODE:WINDOW of every kind of layer, cos:ROPE and sin:ROPE of every rotation */
  readonly prelude: Record<string, HostTensor>;
  /** Input of each block, [R, T, D]; only the last is kept in inference. */
  inputs: HostTensor[];
  /** Hidden states of `also` that `inputs` does not hold. */
  also: HostTensor[];
  routers: LayerRouter[];
  /** Of each block, where asked for. */
  keysValues: PrefixStates[number][];
  saved: HostTensors[];
  /** Keep-masks of each block, where they are held for the backward pass. */
  masks: HostTensors[];
}

interface KeptPass extends Pass {
  readonly states: readonly TileState[];
  readonly also: readonly number[];
  readonly dropout: DropoutContext | undefined;
}

/** Large enough that the cost of starting some 400 operators (about 6 ms) is small, small enough for the last-level cache. */
export const WHOLE_TILE_TOKENS = 1024;

/**
 * Runs a decoder block by block: one compiled block serves all layers of its structure, with each layer's weights as inputs. Layers are
 * the outer loop and tiles the inner one, so that a layer's weights stay in the cache.
 */
export class DecoderRunner implements Runner {
  private readonly prelude: CompiledFunction;
  private readonly prefixes = new PrefixCache();
  /** By structure. */
  private readonly blocks: readonly BlockPrograms[];
  private readonly weights: RunnerWeights;
  private readonly dropout: BlockMasks;
  /** Masks are held for the backward pass instead of being made again: a byte an element. */
  private readonly keepsMasks: boolean;
  private readonly embeddingGradients: EmbeddingGradients;

  constructor(private readonly options: RunnerOptions) {
    const { decoder, pool, threads, trainable = new Map<string, Float32Array>() } = options;
    const precision = options.computePrecision ?? 'float32';
    this.weights = new RunnerWeights(decoder, trainable, { pool, precision });
    const runtime = threads === undefined ? { pool } : { pool, threads };
    this.prelude = compile((inputs) => prelude(inputs, decoder.config, options), {
      ...runtime,
      name: 'prelude',
      // A GPU's sine of a large angle has three digits, and the table of embeddings is as large as the look-up is small.
      device: pool.device === 'tensorflow' ? 'tensorflow' : 'cpu',
    });
    this.keepsMasks = options.policy === 'all';
    this.embeddingGradients = new EmbeddingGradients(decoder.config, new Set(trainable.keys()), runtime);
    this.blocks = compileBlocks(options);
    const adapted = [...trainable.keys()].some((name) => name.includes('.lora_'));
    this.dropout = new BlockMasks(decoder.config, pool, {
      attention: options.attentionDropout ?? 0,
      adapter: adapted ? (options.adapterDropout ?? 0) : 0,
    });
  }

  get layers(): number {
    return this.options.decoder.config.num_hidden_layers;
  }

  /** Whether anything in the blocks or before them is trained: nothing goes backward through a frozen decoder. */
  private get trains(): boolean {
    return this.embeddingGradients.any || this.blocks.some(({ trainable }) => trainable.length > 0);
  }

  async forward(batches: readonly Batch[], options: ForwardOptions): Promise<Pass> {
    const { pool, tileTokens = WHOLE_TILE_TOKENS } = this.options;
    const { layers = this.layers, also = [] } = options;
    const keep = options.keep && this.trains;
    if (keep && options.routers === true)
      throw internalError('router outputs are of passes without gradient');
    const states: TileState[] = [];
    const { prefix } = options;
    const past = prefix === undefined ? undefined : await this.prefixStates(prefix, layers, options);
    for (const tile of tilesOf(batches, tileTokens, pool.device)) {
      const state = await this.begin(tile, prefix);
      const before = options.past?.[states.length];
      if (before !== undefined) this.lookBack(state, before);
      states.push(state);
    }
    for (let layer = 0; layer < layers; layer++) {
      const programs = this.programsOf(layer);
      const params = this.layerWeights(layer);
      for (const [index, state] of states.entries()) {
        const x = state.inputs[state.inputs.length - 1] as HostTensor;
        const masks = this.dropout.masks(state.tile, layer, options.dropout);
        const own = (options.past?.[index]?.states ?? past)?.[layer];
        const before = own === undefined ? {} : { [PAST_KEY]: own.key, [PAST_VALUE]: own.value };
        const inputs = { ...this.blockInputs(state, layer, { x, params, masks }), ...before };
        if (keep) {
          const { output, saved } = await programs.gradient.forward(inputs);
          state.inputs.push(output);
          state.saved.push(saved);
          state.masks.push(this.keepsMasks ? masks : {});
        } else {
          const program =
            options.keysValues === true
              ? programs.keysValues
              : ((options.routers === true ? programs.routed : undefined) ?? programs.inference);
          const { output, logits, probabilities, key, value } = await program.run(inputs);
          if (key !== undefined && value !== undefined) state.keysValues.push({ key, value });
          state.inputs = [output as HostTensor];
          if (logits !== undefined && probabilities !== undefined)
            state.routers.push({ layer, logits, probabilities });
          if (also.includes(layer)) state.also.push(x);
          else pool.release(x);
        }
        if (state.masks[layer] !== masks) pool.release(...Object.values(masks));
      }
    }
    const tiles = states.map((state) => ({
      tile: state.tile,
      hidden: state.inputs[state.inputs.length - 1] as HostTensor,
      also: keep ? also.map((depth) => state.inputs[depth] as HostTensor) : state.also,
      ...(options.routers === true ? { routers: state.routers } : {}),
      ...(options.keysValues === true ? { keysValues: state.keysValues } : {}),
    }));
    const pass: KeptPass = { tiles, states, also, dropout: options.dropout };
    return pass;
  }

  async backward(pass: Pass, hiddenGradients: readonly HostTensor[], sink: GradientSink): Promise<void> {
    const { pool } = this.options;
    const { states, also, dropout } = pass as KeptPass;
    if (!this.trains) {
      pool.release(...hiddenGradients);
      this.release(pass);
      return;
    }
    const ofTile = 1 + also.length;
    const gradients = states.map((_, index) => hiddenGradients[index * ofTile] as HostTensor);
    const depth = Math.max(0, ...states.map(({ saved }) => saved.length));
    for (let layer = depth - 1; layer >= 0; layer--) {
      const { gradient: program, trainable } = this.programsOf(layer);
      const params = this.layerWeights(layer);
      for (const [index, state] of states.entries()) {
        pool.release(state.inputs.pop() as HostTensor);
        const x = state.inputs[state.inputs.length - 1] as HostTensor;
        const kept = state.masks.pop() as HostTensors;
        const masks = this.keepsMasks ? kept : this.dropout.masks(state.tile, layer, dropout);
        const outputGradient = gradients[index] as HostTensor;
        const result = await program.backward(
          this.blockInputs(state, layer, { x, params, masks }),
          state.saved.pop() as HostTensors,
          outputGradient,
        );
        const prefix = blockPrefix(this.options.decoder.config, layer);
        for (const name of trainable) sink.add(prefix + name, floats(result[name] as HostTensor));
        pool.release(
          outputGradient,
          ...Object.values(masks),
          ...trainable.map((name) => result[name] as HostTensor),
        );
        if (result['x'] === undefined) continue;
        gradients[index] = result['x'];
        const more = hiddenGradients[index * ofTile + 1 + also.indexOf(layer)];
        if (also.includes(layer) && more !== undefined) {
          addTo(floats(result['x']), floats(more));
          pool.release(more);
        }
      }
    }
    for (const [index, state] of states.entries()) {
      const gradient = gradients[index] as HostTensor;
      await this.embeddingGradients.add(state.tile, gradient, { sink, weight: (name) => this.weight(name) });
      pool.release(gradient);
    }
    this.release(pass);
  }

  release(pass: Pass): void {
    for (const state of (pass as KeptPass).states) {
      this.options.pool.release(
        ...state.inputs,
        ...state.also,
        ...state.routers.flatMap(({ logits, probabilities }) => [logits, probabilities]),
        ...state.keysValues.flatMap(({ key, value }) => [key, value]),
        ...[...state.saved, ...state.masks].flatMap((tensors) => Object.values(tensors)),
        ...Object.values(state.prelude),
      );
      state.inputs = [];
      state.also = [];
      state.routers = [];
      state.keysValues = [];
      state.saved = [];
      state.masks = [];
      for (const name of Object.keys(state.prelude)) Reflect.deleteProperty(state.prelude, name);
    }
  }

  /** Tensors share their memory with the parameters; only what was made of them has to go. */
  parametersChanged(): void {
    this.prefixes.clear();
  }

  async dispose(): Promise<void> {
    await this.prelude.release();
    for (const programs of this.blocks) await releasePrograms(programs);
    await this.embeddingGradients.dispose();
    this.weights.clear();
  }

  weight(name: string): HostTensor {
    return this.weights.get(name);
  }

  /** Keys and values of a prefix in every block. */
  private async prefixStates(
    ids: Int32Array,
    layers: number,
    { keep }: Pick<ForwardOptions, 'keep'>,
  ): Promise<PrefixStates> {
    if (keep || this.options.attention !== 'causal')
      throw internalError('a constant prefix needs causal attention and a pass without gradient');
    return this.prefixes.of(ids, layers, async () => {
      const batch = padTexts([{ ids, pool: new Uint8Array(ids.length) }], 'right');
      const state = await this.begin(tilesOf([batch], ids.length)[0] as Tile);
      const made: PrefixStates[number][] = [];
      let x = state.inputs[0] as HostTensor;
      for (let layer = 0; layer < layers; layer++) {
        const params = this.layerWeights(layer);
        const inputs = this.blockInputs(state, layer, { x, params, masks: {} });
        const result = await this.programsOf(layer).keysValues.run(inputs);
        this.options.pool.release(x);
        x = result['output'] as HostTensor;
        made.push({ key: result['key'] as HostTensor, value: result['value'] as HostTensor });
      }
      this.options.pool.release(x, ...Object.values(state.prelude));
      return made;
    });
  }

  private async begin(tile: Tile, prefix?: Int32Array): Promise<TileState> {
    const { segments } = tile;
    const positions = prefix === undefined ? tile.positions : movedBy(tile.positions, prefix.length);
    const { inputIds, tables, release } = this.weights.embedding(tile.inputIds);
    const { x, ...prelude } = await this.prelude.run({
      inputIds,
      positions,
      segments,
      ...(prefix === undefined ? {} : { [PREFIX]: intTensor(prefix, [prefix.length]) }),
      ...tables,
    });
    release();
    const nothing = { also: [], routers: [], keysValues: [], saved: [], masks: [] };
    return { tile, prelude, inputs: [x as HostTensor], ...nothing };
  }

  /** Puts masks in the place of a tile's own that let every row's one token look at what stands before it. */
  private lookBack(state: TileState, past: RowPast): void {
    if (this.options.attention !== 'causal')
      throw internalError('tokens that stand before others need causal attention');
    const { pool, decoder } = this.options;
    for (const [name, mask] of pastMasks(past, maskKinds(decoder.config, this.options), pool)) {
      pool.release(state.prelude[name] as HostTensor);
      state.prelude[name] = mask;
    }
  }

  private programsOf(layer: number): BlockPrograms {
    const programs = this.blocks[this.options.decoder.config.layers[layer]?.structure ?? -1];
    if (programs === undefined) throw internalError(`no layer ${layer}`);
    return programs;
  }

  private layerWeights(layer: number): HostTensors {
    return this.weights.ofBlock(layer, this.programsOf(layer).trainable);
  }

  private blockInputs(
    state: TileState,
    layer: number,
    given: { readonly x: HostTensor; readonly params: HostTensors; readonly masks: HostTensors },
  ): HostTensors {
    const { config } = this.options.decoder;
    const mask = state.prelude[maskName(maskKind(config, this.options, layer))];
    const rope = config.layers[layer]?.rope;
    const turned =
      rope === undefined ? {} : { cos: state.prelude[`cos:${rope}`], sin: state.prelude[`sin:${rope}`] };
    return { x: given.x, mask, ...turned, ...given.params, ...given.masks } as HostTensors;
  }
}

/** Positions behind a prefix of `count` tokens. */
function movedBy({ data, dims }: HostTensor, count: number): HostTensor {
  return intTensor(
    (data as Int32Array).map((position) => position + count),
    dims,
  );
}
