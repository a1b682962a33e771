import { internalError } from '../shared/errors.js';
import { mergeLora } from './lora.js';
import type { ResidentPrecision } from './schema.js';
import { storageTypes, type GgmlType } from './weights/ggml-types.js';
import { packings, type Packing } from './weights/packing.js';
import type { PackedTensor, WeightStore } from './weights/types.js';

/** A weight in memory: float32, row-major, or as its file has it, to be expanded when it is needed. */
export type Weight = Float32Array | PackedTensor;

export function isPacked(weight: Weight): weight is PackedTensor {
  return !(weight instanceof Float32Array);
}

/** Values that are expanded at once where they are only looked at: few enough for the cache. */
const PIECE = 1 << 16;

function storageOf({ storedType }: PackedTensor): Required<GgmlType> {
  const type = storageTypes.get(storedType);
  if (type?.expand === undefined) throw internalError(`no way to expand ${storedType}`);
  return type as Required<GgmlType>;
}

/** Values [from, from + target.length) as they are stored, without what is merged into them; both ends at the end of a block. */
export function expandRange(weight: PackedTensor, from: number, target: Float32Array): void {
  const { blockSize, blockBytes, expand } = storageOf(weight);
  const bytes = (values: number): number => (values / blockSize) * blockBytes;
  const packed = Math.min(target.length, (weight.bytes.length / blockBytes) * blockSize - from);
  if (packed > 0)
    expand(weight.bytes.subarray(bytes(from), bytes(from + packed)), target.subarray(0, packed));
  if (weight.replaced === undefined) return;
  const { from: first, values } = weight.replaced;
  const end = Math.min(from + target.length, first + values.length);
  const start = Math.max(from, first);
  if (start < end) target.set(values.subarray(start - first, end - first), start - from);
}

/** Writes the values of a packed weight, with all that is merged into it. */
export function expandInto(weight: PackedTensor, target: Float32Array): void {
  expandRange(weight, 0, target);
  for (const adapter of weight.merged) mergeLora(target, adapter.a, adapter.b, adapter);
}

/** The values of a weight: its own memory, or new memory where it is packed. */
export function valuesOf(weight: Weight): Float32Array {
  if (!isPacked(weight)) return weight;
  const values = new Float32Array(weight.length);
  expandInto(weight, values);
  return values;
}

/** target[i] = row rows[i], for a table that has no adapters. */
export function expandRows(
  table: PackedTensor,
  rows: Int32Array,
  { target, width }: { readonly target: Float32Array; readonly width: number },
): void {
  if (table.merged.length > 0) throw internalError('an adapter on a table');
  for (const [place, row] of rows.entries())
    expandRange(table, row * width, target.subarray(place * width, (place + 1) * width));
}

/** The values of a weight in their order, a piece at a time in memory that the next piece takes again. */
export function* piecesOf(weight: Weight): Generator<Float32Array> {
  if (!isPacked(weight) || weight.merged.length > 0) {
    yield valuesOf(weight);
    return;
  }
  const piece = new Float32Array(Math.min(PIECE, weight.length));
  for (let from = 0; from < weight.length; from += PIECE) {
    const part = piece.subarray(0, Math.min(PIECE, weight.length - from));
    expandRange(weight, from, part);
    yield part;
  }
}

/** Bytes that a weight takes in the memory that threads share, and in that which each of them has a copy of. */
export function residentBytes(weight: Weight): { readonly shared: number; readonly own: number } {
  if (!isPacked(weight)) return { shared: 0, own: weight.byteLength };
  const merged = weight.merged.reduce((sum, { a, b }) => sum + a.byteLength + b.byteLength, 0);
  const own = merged + (weight.replaced?.values.byteLength ?? 0);
  return { shared: weight.bytes.length, own };
}

/** Reads a matrix that may stay packed: as it is stored, or in fewer bits where `precision` says so; float32 where the file has no other form. */
export async function readResident(
  store: WeightStore,
  name: string,
  precision: ResidentPrecision,
): Promise<Weight> {
  if (precision === 'float32') return store.read(name);
  const packed = await store.readPacked?.(name);
  if (precision === 'stored') return packed ?? store.read(name);
  const columns = store.info(name)?.shape.at(-1) ?? 1;
  const asked: Packing = packings[precision];
  const packing = columns % asked.blockSize === 0 ? asked : packings.bfloat16;
  if (packed === undefined) return repacked(await store.read(name), packing);
  const smaller = packed.bytes.length <= (packed.length / packing.blockSize) * packing.blockBytes;
  return smaller ? packed : repacked(packed, packing);
}

function repacked(weight: Weight, { storedType, blockSize, blockBytes, pack }: Packing): PackedTensor {
  const bytes = new Uint8Array(new SharedArrayBuffer((weight.length / blockSize) * blockBytes));
  const merged = isPacked(weight) ? weight.merged : [];
  let at = 0;
  for (const piece of piecesOf(isPacked(weight) ? { ...weight, merged: [] } : weight)) {
    const length = (piece.length / blockSize) * blockBytes;
    pack(piece, bytes.subarray(at, at + length));
    at += length;
  }
  return { storedType, length: weight.length, bytes, merged };
}
