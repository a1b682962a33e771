import type { TensorPool } from '../compiler/pool.js';
import { floats, type HostTensor } from '../compiler/program.js';
import { BLOCKED } from './attention.js';
import { maskName, type maskKinds } from './layer-masks.js';
import type { PrefixStates } from './prefix.js';

/** Keys and values of each row's own earlier tokens: the cache of a text that is continued token by token. */
export interface RowPast {
  /** Of every block, [R, P, K, d]; place p holds the token of position p. */
  readonly states: PrefixStates;
  /** [R]: tokens that are there already; the places behind them are not looked at. */
  readonly lengths: Int32Array;
}

/** Room for `places` tokens a row, holding the first ones of `known` [R, T, K, d]. */
export function startPast(
  known: PrefixStates,
  {
    lengths,
    places,
    pool,
  }: { readonly lengths: Int32Array; readonly places: number; readonly pool: TensorPool },
): RowPast {
  const widened = (source: HostTensor): HostTensor => {
    const [rows, tokens, heads, width] = source.dims as [number, number, number, number];
    const target = pool.acquire([rows, places, heads, width]);
    // What is not there yet is masked, and has to be a number for that.
    const data = floats(target).fill(0);
    const ofToken = heads * width;
    const kept = Math.min(tokens, places) * ofToken;
    for (let row = 0; row < rows; row++) {
      const from = row * tokens * ofToken;
      data.set(floats(source).subarray(from, from + kept), row * places * ofToken);
    }
    return target;
  };
  const states = known.map(({ key, value }) => ({ key: widened(key), value: widened(value) }));
  return { states, lengths: lengths.slice() };
}

/** Puts the keys and values of one more token a row, [R, 1, K, d], behind what is there. */
export function extendPast({ states, lengths }: RowPast, added: PrefixStates): void {
  for (const [layer, one] of added.entries()) {
    const all = states[layer] as PrefixStates[number];
    for (const part of ['key', 'value'] as const) {
      const [rows, places, heads, width] = all[part].dims as [number, number, number, number];
      const ofToken = heads * width;
      for (let row = 0; row < rows; row++)
        floats(all[part]).set(
          floats(one[part]).subarray(row * ofToken, (row + 1) * ofToken),
          (row * places + (lengths[row] as number)) * ofToken,
        );
    }
  }
  for (let row = 0; row < lengths.length; row++) lengths[row] = (lengths[row] as number) + 1;
}

export function releasePast({ states }: RowPast, pool: TensorPool): void {
  pool.release(...states.flatMap(({ key, value }) => [key, value]));
}

/** Masks [R, 1, 1, P + 1] of every kind of layer, by name: each row's token sees itself and the tokens before it, as far as its window reaches. */
export function pastMasks(
  { states, lengths }: RowPast,
  kinds: ReturnType<typeof maskKinds>,
  pool: TensorPool,
): Map<string, HostTensor> {
  const rows = lengths.length;
  const places = states[0]?.key.dims[1] ?? 0;
  const masks = new Map<string, HostTensor>();
  for (const kind of kinds) {
    const name = maskName(kind);
    if (masks.has(name)) continue;
    const mask = pool.acquire([rows, 1, 1, places + 1]);
    const data = floats(mask).fill(BLOCKED);
    for (let row = 0; row < rows; row++) {
      const length = lengths[row] as number;
      const first = kind.window === undefined ? 0 : Math.max(0, length - kind.window + 1);
      const start = row * (places + 1);
      data.fill(0, start + first, start + length);
      data[start + places] = 0;
    }
    masks.set(name, mask);
  }
  return masks;
}
