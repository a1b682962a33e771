import { internalError } from '../../shared/errors.js';
import type { TensorInfo, WeightStore } from './types.js';

/** How a family names its experts inside a layer, one by one: `mlp.experts.3.gate_proj.weight`. */
export interface ExpertNames {
  readonly router: string;
  readonly prefix: string;
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/** Qwen's, OLMoE's and DeepSeek's. */
export const mlpExperts: ExpertNames = {
  router: 'mlp.gate',
  prefix: 'mlp.experts.',
  gate: 'gate_proj',
  up: 'up_proj',
  down: 'down_proj',
};

/** Mixtral's. */
export const mixtralExperts: ExpertNames = {
  router: 'block_sparse_moe.gate',
  prefix: 'block_sparse_moe.experts.',
  gate: 'w1',
  up: 'w3',
  down: 'w2',
};

/** A part of a joined tensor: [X, rows, columns] by its first axis, then by rows. */
export interface Part {
  readonly from: string;
  readonly start: number;
  readonly shape: readonly [number, number];
}

/**
 * A store whose experts have tensors of their own. transformers 5 keeps those of a layer in memory as two, and writes them so where asked
 * (`save_original_format=False`): `mlp.experts.gate_up_proj` [X, 2F, D], gates first, and `mlp.experts.down_proj` [X, D, F]; the router is then `mlp.gate`
 * in every family.
 */
export function expertStore(store: WeightStore, names: ExpertNames): WeightStore {
  const parts = new Map<string, Part>();
  const renamed = new Map<string, string>();
  for (const name of store.names) {
    const joined = /^(.*\.)mlp\.experts\.(gate_up_proj|down_proj)$/.exec(name);
    const shape = store.info(name)?.shape ?? [];
    if (joined !== null && shape.length === 3) {
      const inLayer = (joined[1] as string) + names.prefix;
      const lasts = joined[2] === 'down_proj' ? [names.down] : [names.gate, names.up];
      for (const [part, tensor] of partsOf(name, shape as [number, number, number], lasts))
        parts.set(inLayer + part, tensor);
    } else {
      const router = /^(.*\.)mlp\.gate\.weight$/.exec(name);
      renamed.set(router === null ? name : `${router[1]}${names.router}.weight`, name);
    }
  }
  return storeOfParts(store, { renamed, parts, held: 2 });
}

/** A store under other names, some of whose tensors are parts of larger ones; the last `held` of those stay in memory while parts are read. */
export function storeOfParts(
  store: WeightStore,
  {
    renamed,
    parts,
    held,
  }: {
    readonly renamed: ReadonlyMap<string, string>;
    readonly parts: ReadonlyMap<string, Part>;
    readonly held: number;
  },
): WeightStore {
  const whole = holding((name) => store.read(name), held);
  const wholePacked = holding(async (name) => store.readPacked?.(name), held);
  return {
    names: [...renamed.keys(), ...parts.keys()],
    info: (name): TensorInfo | undefined => {
      const part = parts.get(name);
      const info = store.info(part?.from ?? renamed.get(name) ?? '');
      return info === undefined ? undefined : { ...info, name, shape: part?.shape ?? info.shape };
    },
    read: async (name) => {
      const part = parts.get(name);
      if (part === undefined) return store.read(renamed.get(name) ?? name);
      const data = await whole(part.from);
      const count = part.shape[0] * part.shape[1];
      if (part.start + count > data.length) throw internalError(`${name} lies outside ${part.from}`);
      return data.slice(part.start, part.start + count);
    },
    readPacked: async (name) => {
      const part = parts.get(name);
      if (part === undefined) return store.readPacked?.(renamed.get(name) ?? name);
      const packed = await wholePacked(part.from);
      if (packed === undefined) return undefined;
      const length = part.shape[0] * part.shape[1];
      // A row has whole blocks.
      const bytesPerValue = packed.bytes.length / packed.length;
      const bytes = new Uint8Array(new SharedArrayBuffer(length * bytesPerValue));
      bytes.set(packed.bytes.subarray(part.start * bytesPerValue, part.start * bytesPerValue + bytes.length));
      // What is merged into one expert is none of the others' business.
      return { ...packed, length, bytes, merged: [] };
    },
    close: () => store.close(),
  };
}

/** Reads, and remembers the last few results. */
function holding<Value>(
  read: (name: string) => Promise<Value>,
  most: number,
): (name: string) => Promise<Value> {
  const held = new Map<string, Promise<Value>>();
  return (name) => {
    const known = held.get(name);
    if (known !== undefined) return known;
    const value = read(name);
    const [oldest] = held.keys();
    if (held.size >= most && oldest !== undefined) held.delete(oldest);
    held.set(name, value);
    return value;
  };
}

/** Of each expert in turn, its rows divided equally among `lasts`. */
export function* partsOf(
  from: string,
  [experts, rows, columns]: readonly [number, number, number],
  lasts: readonly string[],
): Generator<[string, Part]> {
  const each = Math.floor(rows / lasts.length);
  for (let expert = 0; expert < experts; expert++) {
    for (const [index, last] of lasts.entries()) {
      const start = (expert * rows + index * each) * columns;
      yield [`${expert}.${last}.weight`, { from, start, shape: [each, columns] }];
    }
  }
}
