import type { FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import onnxProto from 'onnx-proto';
import { elementCount } from '../compiler/graph.js';
import { DATA_TYPE, serializeParts } from '../compiler/serialize.js';
import { internalError } from '../shared/errors.js';
import { writeAtomic } from '../shared/files.js';
import { packageVersions } from '../shared/package.js';
import type { EmbedderGraph, StoredWeight } from './graph.js';

const { onnx } = onnxProto;

/** Weights above this lie in a second file: a protobuf message ends at 2 GiB. */
const EXTERNAL_ABOVE = 1.5e9;
/** Data that runtimes map into memory starts at a page. */
const ALIGNMENT = 4096;

// Tags of protobuf fields: number << 3 | 2 (length-delimited).
const MODEL_GRAPH = 0x3a;
const GRAPH_INITIALIZER = 0x2a;
const TENSOR_RAW_DATA = 0x4a;

export interface OnnxFileOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** Bytes of weights above which they are written to `<path>_data`. */
  readonly externalAbove?: number;
}

/** Writes a graph and its weights as an ONNX file, one weight at a time. @returns whether the weights lie in a second file. */
export async function writeOnnxFile(
  path: string,
  { graph, weights, dimensionNames }: EmbedderGraph,
  { metadata = {}, externalAbove = EXTERNAL_ABOVE }: OnnxFileOptions = {},
): Promise<{ readonly external: boolean }> {
  const bytes = weights.reduce((sum, weight) => sum + byteLength(weight), 0);
  const external = bytes > externalAbove;
  const parts = serializeParts(graph, {
    dimensionNames,
    metadata,
    producerVersion: packageVersions().lmvec,
    stored: new Set(weights.map(({ name }) => name)),
  });
  const places = external ? await writeExternal(`${path}_data`, weights) : undefined;
  const initializers = weights.map((weight) => initializer(weight, places?.get(weight.name)));
  const graphLength =
    parts.graph.length + initializers.reduce((sum, { head, rest }) => sum + head.length + rest, 0);
  await writeAtomic(path, async (file) => {
    await file.writeFile(parts.model);
    await file.writeFile(Buffer.concat([tagged(MODEL_GRAPH, graphLength), parts.graph]));
    for (const [index, { head, rest }] of initializers.entries()) {
      await file.writeFile(head);
      if (rest > 0) await writeData(file, weights[index] as StoredWeight);
    }
  });
  return { external };
}

/** Where a weight lies in the second file. */
interface Place {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** An `initializer` field of GraphProto: its bytes up to the data, and the length of the data that follows in this file. */
function initializer(
  weight: StoredWeight,
  place: Place | undefined,
): { readonly head: Uint8Array; readonly rest: number } {
  const proto = {
    name: weight.name,
    dims: [...weight.shape],
    dataType: DATA_TYPE[weight.type],
    ...(place === undefined
      ? {}
      : {
          dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
          externalData: Object.entries(place).map(([key, value]) => ({ key, value: String(value) })),
        }),
  };
  const described = onnx.TensorProto.encode(proto).finish();
  if (place !== undefined)
    return { head: Buffer.concat([tagged(GRAPH_INITIALIZER, described.length), described]), rest: 0 };
  const rest = byteLength(weight);
  const data = tagged(TENSOR_RAW_DATA, rest);
  const length = described.length + data.length + rest;
  return { head: Buffer.concat([tagged(GRAPH_INITIALIZER, length), described, data]), rest };
}

async function writeExternal(path: string, weights: readonly StoredWeight[]): Promise<Map<string, Place>> {
  const places = new Map<string, Place>();
  await writeAtomic(path, async (file) => {
    let offset = 0;
    for (const weight of weights) {
      const padding = (ALIGNMENT - (offset % ALIGNMENT)) % ALIGNMENT;
      await file.writeFile(Buffer.alloc(padding));
      offset += padding;
      const length = byteLength(weight);
      places.set(weight.name, { location: basename(path), offset, length });
      await writeData(file, weight);
      offset += length;
    }
  });
  return places;
}

async function writeData(file: FileHandle, weight: StoredWeight): Promise<void> {
  const data = weight.data();
  if (data.byteLength !== byteLength(weight))
    throw internalError(`weight ${weight.name} has ${data.length} values for [${weight.shape.join(', ')}]`);
  await file.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

const BYTES = { float32: 4, float16: 2, int8: 1, uint8: 1 } as const;

function byteLength({ shape, type }: StoredWeight): number {
  return elementCount(shape) * BYTES[type];
}

/** A field's tag and its length as a base-128 number. */
function tagged(tag: number, length: number): Uint8Array {
  const bytes = [tag];
  let rest = length;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return Uint8Array.from([...bytes, rest]);
}
