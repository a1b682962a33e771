import { compile, type CompiledFunction } from '../compiler/compile.js';
import type { TensorPool } from '../compiler/pool.js';
import { floats, type HostTensor } from '../compiler/program.js';
import type { Tensors } from '../compiler/trace.js';
import type { Batch, TokenizedText } from '../data/batch.js';
import { padTexts } from '../data/packing.js';
import { headName, type Decoder } from './decoder.js';
import { lastHiddenState, logits } from './output.js';
import { dependsOnLength } from './rope.js';
import { extendPast, releasePast, startPast, type RowPast } from './row-past.js';
import type { Pass, Runner } from './runner.js';
import { outputShapes } from './weight-shapes.js';

/** Prompts are laid in rows of a multiple of this: few shapes, so that few programs are compiled. */
const ROW_STEP = 16;
/** Logits of one call, at most. */
const LOGITS_AT_ONCE = 1 << 24;

/** What a decoder answers to a text, and the hidden states that made the answer. */
export interface Answer {
  /** The tokens before the end token, at most as many as asked for. */
  readonly ids: Int32Array;
  /** The hidden states that make these tokens, the first one in any case, [places, D] each, by number of blocks. */
  readonly states: ReadonlyMap<number, Float32Array>;
  /** Number of states. */
  readonly places: number;
}

export interface GreedyOptions {
  readonly runner: Runner;
  readonly decoder: Decoder;
  readonly pool: TensorPool;
  readonly threads?: number;
  /** Tokens of an answer, at most. */
  readonly tokens: number;
  /** Tokens that end an answer. */
  readonly ends: ReadonlySet<number>;
  /** Numbers of blocks whose hidden states are wanted beside the last one's; ascending. */
  readonly also: readonly number[];
  /** Whether keys and values are kept from token to token (default true); else every token reads the whole text again. */
  readonly cache?: boolean;
}

/** An answer that is being made. */
interface Growing {
  readonly prompt: Int32Array;
  readonly ids: number[];
  readonly states: Map<number, Float32Array[]>;
  ended: boolean;
}

/** Continues texts by the token that is most probable, then the next one: causal decoders only. */
export class GreedyDecoder {
  private readonly head: CompiledFunction;
  private readonly cached: boolean;

  constructor(private readonly options: GreedyOptions) {
    const { decoder, pool, threads } = options;
    const fn = (inputs: Tensors): Tensors => {
      const { hidden, head, ...params } = inputs as Record<string, Tensors[string]>;
      const last = lastHiddenState(params, hidden as Tensors[string], decoder.config);
      return { logits: logits(head as Tensors[string], last, decoder.config) };
    };
    this.head = compile(fn, { name: 'next token', pool, ...(threads === undefined ? {} : { threads }) });
    // Such a rotation turns earlier keys anew with every token.
    const turnsAnew = Object.values(decoder.config.ropes).some(dependsOnLength);
    this.cached = options.cache !== false && !turnsAnew;
  }

  /** The answers to prompts, in their order. */
  async answer(prompts: readonly Int32Array[]): Promise<Answer[]> {
    const growing = prompts.map((prompt): Growing => ({ prompt, ids: [], states: new Map(), ended: false }));
    if (this.cached) await this.withCache(growing);
    else await this.anew(growing);
    return growing.map(({ ids, states }) => {
      const joined = [...states].map(([depth, parts]) => [depth, concatenated(parts)] as const);
      return {
        ids: Int32Array.from(ids),
        states: new Map(joined),
        places: states.values().next().value?.length ?? 0,
      };
    });
  }

  private async withCache(growing: readonly Growing[]): Promise<void> {
    const { runner, pool, tokens, also } = this.options;
    const longest = Math.max(...growing.map(({ prompt }) => prompt.length));
    const width = ROW_STEP * Math.ceil(longest / ROW_STEP);
    const texts = growing.map(({ prompt }) => plainText(prompt));
    const pass = await runner.forward([padTexts(texts, 'right', width)], {
      keep: false,
      keysValues: true,
      also,
    });
    const members = membersOf(pass, growing);
    const pasts = members.map((rows, index) =>
      startPast(pass.tiles[index]?.keysValues ?? [], {
        lengths: Int32Array.from(rows, ({ prompt }) => prompt.length),
        places: width + tokens - 1,
        pool,
      }),
    );
    await this.take(pass, members, (row) => row.prompt.length - 1);
    runner.release(pass);
    for (let step = 1; step < tokens && growing.some(({ ended }) => !ended); step++) {
      const next = await runner.forward(
        members.map((rows, index) => oneToken(rows, pasts[index] as RowPast)),
        { keep: false, keysValues: true, past: pasts, also },
      );
      await this.take(next, members, () => 0);
      for (const [index, past] of pasts.entries()) extendPast(past, next.tiles[index]?.keysValues ?? []);
      runner.release(next);
    }
    for (const past of pasts) releasePast(past, pool);
  }

  private async anew(growing: readonly Growing[]): Promise<void> {
    const { runner, tokens, also } = this.options;
    for (let step = 0; step < tokens && growing.some(({ ended }) => !ended); step++) {
      const texts = growing.map(({ prompt, ids }) => plainText(Int32Array.from([...prompt, ...ids])));
      const pass = await runner.forward([padTexts(texts, 'right')], { keep: false, also });
      await this.take(pass, membersOf(pass, growing), ({ prompt, ids }) => prompt.length + ids.length - 1);
      runner.release(pass);
    }
  }

  /** Reads one token for each row: the hidden state at its place, and what follows it. */
  private async take(
    pass: Pass,
    members: readonly (readonly Growing[])[],
    placeOf: (row: Growing) => number,
  ): Promise<void> {
    const { also, runner } = this.options;
    const reading: { readonly row: Growing; readonly states: ReadonlyMap<number, Float32Array> }[] = [];
    for (const [index, { tile, ...passed }] of pass.tiles.entries()) {
      for (const [r, row] of (members[index] as readonly Growing[]).entries()) {
        if (row.ended) continue;
        const place = r * tile.tokensPerRow + placeOf(row);
        const at = (source: HostTensor): Float32Array => {
          const width = source.dims[2] as number;
          return floats(source).slice(place * width, (place + 1) * width);
        };
        const states = new Map([[runner.layers, at(passed.hidden)]]);
        for (const [i, depth] of also.entries()) states.set(depth, at(passed.also[i] as HostTensor));
        reading.push({ row, states });
      }
    }
    const tokens = await this.nextTokens(
      reading.map(({ states }) => states.get(runner.layers) as Float32Array),
    );
    for (const [i, { row, states }] of reading.entries()) {
      const token = tokens[i] as number;
      row.ended = this.options.ends.has(token);
      // A state that makes the end is of no token of the answer; an empty answer has one all the same.
      if (row.ended && row.states.size > 0) continue;
      for (const [depth, state] of states) row.states.set(depth, [...(row.states.get(depth) ?? []), state]);
      if (!row.ended) row.ids.push(token);
    }
  }

  /** The most probable token behind each hidden state [D], the first of several. */
  private async nextTokens(hidden: readonly Float32Array[]): Promise<number[]> {
    const { runner, decoder, pool } = this.options;
    const { vocab_size: vocabulary, hidden_size: width } = decoder.config;
    const most = Math.max(1, Math.floor(LOGITS_AT_ONCE / vocabulary));
    const weights = Object.keys(outputShapes(decoder.config)).map((name) => [name, runner.weight(name)]);
    const tokens: number[] = [];
    for (let first = 0; first < hidden.length; first += most) {
      const rows = hidden.slice(first, first + most);
      const count = 2 ** Math.ceil(Math.log2(rows.length));
      const states = pool.acquire([count, width]);
      floats(states).fill(0);
      for (const [row, state] of rows.entries()) floats(states).set(state, row * width);
      const result = await this.head.run({
        hidden: states,
        head: runner.weight(headName(decoder)),
        ...(Object.fromEntries(weights) as Record<string, HostTensor>),
      });
      const scores = floats(result['logits'] as HostTensor);
      for (let row = 0; row < rows.length; row++)
        tokens.push(largest(scores.subarray(row * vocabulary, (row + 1) * vocabulary)));
      pool.release(states, ...Object.values(result));
    }
    return tokens;
  }

  async dispose(): Promise<void> {
    await this.head.release();
  }
}

/** The tokens that end an answer: those that config.json names, else the tokenizer's. */
export function endTokens({ rawConfig }: Pick<Decoder, 'rawConfig'>, own: number | undefined): Set<number> {
  const { eos_token_id: named } = rawConfig;
  const listed = (Array.isArray(named) ? named : [named]).filter((id) => typeof id === 'number');
  return new Set(listed.length > 0 ? listed : own === undefined ? [] : [own]);
}

function plainText(ids: Int32Array): TokenizedText {
  return { ids, pool: new Uint8Array(ids.length) };
}

/** The texts of each tile's rows: one a row. */
function membersOf(pass: Pass, growing: readonly Growing[]): Growing[][] {
  return pass.tiles.map(({ tile }) => {
    const rows: Growing[] = [];
    for (const { row, index } of tile.texts) rows[row] = growing[index] as Growing;
    return rows;
  });
}

/** A batch of the last token of every row. A row that has ended goes on with any token: nobody reads it. */
function oneToken(rows: readonly Growing[], { lengths }: RowPast): Batch {
  return {
    rows: rows.length,
    tokensPerRow: 1,
    inputIds: Int32Array.from(rows, ({ ids }) => ids.at(-1) ?? 0),
    positions: lengths.slice(),
    segments: Int32Array.from(rows, (_, row) => row + 1),
    poolMask: new Uint8Array(rows.length),
    texts: rows.map((_, row) => ({ index: row, row, start: 0, length: 1 })),
  };
}

function largest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

function concatenated(parts: readonly Float32Array[]): Float32Array {
  const width = parts[0]?.length ?? 0;
  const all = new Float32Array(parts.length * width);
  for (const [i, part] of parts.entries()) all.set(part, i * width);
  return all;
}
