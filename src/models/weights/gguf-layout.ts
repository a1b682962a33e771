import { transpose } from '../../shared/matrix.js';
import { userError } from '../../shared/errors.js';
import { partsOf, storeOfParts, type ExpertNames, type Part } from './expert-names.js';
import { archKeys, headSizes, type ArchKeys, type HeadSizes } from './gguf-keys.js';
import type { GgufFile } from './gguf.js';
import { movedRows, rowsByHead, rowsOfHalves, type MovedRows } from './gguf-rows.js';
import type { JsonObject, WeightStore } from './types.js';

/** How an architecture of llama.cpp lies in GGUF (its conversion/ scripts). */
export interface Layout {
  readonly arch: string;
  /** Before the number of a layer: `model.layers.` */
  readonly blocks: string;
  /** GGUF's names inside `blk.N.` -> Hugging Face's inside the layer. */
  readonly inside: Readonly<Record<string, string>>;
  readonly outside: Readonly<Record<string, string>>;
  /** Norms are stored as 1 + w. */
  readonly normsPlusOne?: boolean;
  /** Hugging Face has the blocks' matrices as [in, out]. */
  readonly transposed?: boolean;
  /** Rows of queries and keys are interleaved for GGML's rotary embedding. */
  readonly interleaved?: boolean;
  /** The matrix that has all queries, all keys, all values here, and those of one head after another in Hugging Face. */
  readonly splitByKind?: string;
  /** How a mixture's experts are called in Hugging Face. */
  readonly experts?: ExpertNames;
  /** `config.json` in the words of transformers 5. */
  readonly config: (file: GgufFile, keys: ArchKeys) => Promise<JsonObject>;
}

/** The configuration and the weights of a file, in Hugging Face's words and row order. */
export async function readLayout(
  file: GgufFile,
  layout: Layout,
): Promise<{ readonly config: JsonObject; readonly weights: WeightStore }> {
  const keys = archKeys(file, layout.arch);
  return { config: await layout.config(file, keys), weights: weightsOf(file, layout, keys) };
}

/** How a tensor's values differ from Hugging Face's. */
interface Change {
  readonly shape?: readonly number[];
  readonly rows?: MovedRows;
  readonly values?: (data: Float32Array) => Float32Array;
}

function weightsOf(file: GgufFile, layout: Layout, keys: ArchKeys): WeightStore {
  const store = renamed(file, layout, keys);
  const heads = headSizes(keys);
  if (layout.interleaved === true) checkHeads(file, keys, heads);
  const changeOf = (name: string): Change => {
    const info = store.info(name);
    const change = info === undefined ? {} : changeOfTensor(name, info.shape, { layout, heads });
    if (change.rows === undefined || info?.shape[0] === change.rows.count) return change;
    throw userError({
      what: `the tensor of ${name} has the wrong shape`,
      where: file.path,
      got: `${String(info?.shape[0])} rows`,
      expected: `${change.rows.count}, heads of ${heads.headDim}`,
    });
  };
  return {
    ...store,
    info: (name) => {
      const info = store.info(name);
      return info === undefined ? undefined : { ...info, shape: changeOf(name).shape ?? info.shape };
    },
    read: async (name) => {
      const { rows, values } = changeOf(name);
      const data = await store.read(name);
      if (rows !== undefined) return movedRows(data, new Float32Array(data.length), rows.order());
      return values === undefined ? data : values(data);
    },
    readPacked: async (name) => {
      const { rows, values } = changeOf(name);
      const packed = values === undefined ? await store.readPacked?.(name) : undefined;
      if (packed === undefined || rows === undefined) return packed;
      const bytes = new Uint8Array(new SharedArrayBuffer(packed.bytes.length));
      // A row has whole blocks, so that its bytes move as its values do.
      return { ...packed, bytes: movedRows(packed.bytes, bytes, rows.order()) };
    },
  };
}

function changeOfTensor(
  name: string,
  shape: readonly number[],
  { layout, heads: { heads, keyHeads, headDim } }: { readonly layout: Layout; readonly heads: HeadSizes },
): Change {
  if (layout.normsPlusOne === true && name.endsWith('norm.weight'))
    return { values: (data) => data.map((value) => value - 1) };
  if (layout.transposed === true && name.startsWith(layout.blocks) && shape.length === 2) {
    const [rows, columns] = shape as [number, number];
    return { shape: [columns, rows], values: (data) => transpose(data, rows, columns) };
  }
  const projection = layout.interleaved === true ? /\.self_attn\.(q|k)_proj\./.exec(name)?.[1] : undefined;
  if (projection !== undefined) return { rows: rowsOfHalves(projection === 'q' ? heads : keyHeads, headDim) };
  if (layout.splitByKind !== undefined && name.includes(`.${layout.splitByKind}.`))
    return { rows: rowsByHead(heads, headDim) };
  // llama.cpp has dropped axes of length 1.
  if (name.endsWith('.shared_expert_gate.weight') && shape.length === 1)
    return { shape: [1, shape[0] as number] };
  return {};
}

/** @throws UserError where a head's rows cannot be interleaved by halves */
function checkHeads(file: GgufFile, keys: ArchKeys, { heads, headDim }: HeadSizes): void {
  const rotated = keys.integer('rope.dimension_count', 1) ?? headDim;
  if (headDim % 2 === 0 && rotated === headDim) return;
  throw userError({
    what: 'attention heads do not fit',
    where: file.path,
    got: `${heads} heads, head size ${headDim}, ${rotated} rotated`,
    expected: 'an even head size, all of it rotated',
  });
}

/** The file's tensors under Hugging Face's names, experts one by one. */
function renamed(file: GgufFile, layout: Layout, keys: ArchKeys): WeightStore {
  const stored = new Map<string, string>();
  const parts = new Map<string, Part>();
  const unknown: string[] = [];
  for (const name of file.names) {
    if (/^rope_(freqs|factors_long|factors_short)\.weight$/.test(name)) continue;
    const joined = joinedExperts(name, layout);
    if (joined === undefined) {
      const canonical = canonicalName(name, layout);
      if (canonical === undefined) unknown.push(name);
      else stored.set(canonical, name);
    } else {
      for (const [part, tensor] of partsOf(name, shapeOfExperts(file, name, keys), [joined.last]))
        parts.set(joined.prefix + part, tensor);
    }
  }
  if (unknown.length > 0) {
    const more = unknown.length > 10 ? `; and ${unknown.length - 10} more` : '';
    throw userError({
      what: `tensors that have no place in a ${layout.arch} model`,
      where: file.path,
      got: unknown.slice(0, 10).join('; ') + more,
    });
  }
  // Gates, ups and downs of a layer.
  return storeOfParts(file, { renamed: stored, parts, held: 3 });
}

function joinedExperts(
  name: string,
  { blocks, experts }: Layout,
): { readonly prefix: string; readonly last: string } | undefined {
  const found = /^blk\.(\d+)\.ffn_(gate|up|down)_exps\.weight$/.exec(name);
  if (found === null || experts === undefined) return undefined;
  return {
    prefix: `${blocks}${Number(found[1])}.${experts.prefix}`,
    last: experts[found[2] as 'gate' | 'up' | 'down'],
  };
}

/** [X, rows, columns]. @throws UserError where there are not as many experts as the metadata says */
function shapeOfExperts(file: GgufFile, name: string, keys: ArchKeys): [number, number, number] {
  const shape = file.info(name)?.shape ?? [];
  const count = keys.required('expert_count');
  if (shape.length === 3 && shape[0] === count) return shape as unknown as [number, number, number];
  throw userError({
    what: `tensor ${name} has the wrong shape`,
    where: file.path,
    got: `[${shape.join(', ')}]`,
    expected: `matrices of ${count} experts`,
  });
}

function canonicalName(name: string, { blocks, inside, outside, experts }: Layout): string | undefined {
  const parts = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name);
  const part = parts?.[2] ?? '';
  if (parts !== null && Object.hasOwn(inside, part))
    return `${blocks}${Number(parts[1])}.${inside[part] ?? ''}.${parts[3] ?? ''}`;
  // Mixtral files of before April 2024 have a tensor for each expert.
  const single = /^blk\.(\d+)\.ffn_(gate|up|down)\.(\d+)\.weight$/.exec(name);
  if (single !== null && experts !== undefined) {
    const [, layer, last, expert] = single;
    return `${blocks}${Number(layer)}.${experts.prefix}${Number(expert)}.${experts[last as 'gate' | 'up' | 'down']}.weight`;
  }
  return Object.hasOwn(outside, name) ? outside[name] : undefined;
}
