import { userError } from '../../shared/errors.js';
import { openRangeFile, type RangeFile } from './file-range.js';
import { ggmlTypes, readableTypes, type GgmlType } from './ggml-types.js';
import { GgufCursor, NeedMoreBytes, type GgufValue } from './gguf-cursor.js';
import { elementCount, type TensorInfo, type WeightStore } from './types.js';

/** A GGUF file that is open: its metadata and its tensors under their GGUF names, shapes with the slowest dimension first. */
export interface GgufFile extends WeightStore {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
}

interface Entry extends TensorInfo {
  readonly type: GgmlType;
  /** Bytes from the start of the data section. */
  readonly offset: number;
  readonly bytes: number;
}

interface Header {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly dataStart: number;
}

const maxDimensions = 4;
const maxNameBytes = 1024;

/**
 * Opens a GGUF file of version 2 or 3 (github.com/ggml-org/ggml, docs/gguf.md), every count, length and offset checked against the file's size.
 * @throws UserError naming the file and what is wrong in it.
 */
export async function openGguf(path: string): Promise<GgufFile> {
  const file = await openRangeFile(path, 'GGUF file');
  try {
    const { metadata, entries, dataStart } = await readHeader(file);
    return {
      path,
      metadata,
      names: [...entries.keys()],
      info: (name) => entries.get(name),
      read: async (name) => {
        const entry = entries.get(name);
        if (entry?.type.expand === undefined)
          throw userError({ what: `tensor ${name} is missing`, where: path });
        const bytes = await file.read(dataStart + entry.offset, entry.bytes);
        if (entry.storedType === 'F32') return new Float32Array(bytes);
        const values = new Float32Array(elementCount(entry.shape) as number);
        entry.type.expand(new Uint8Array(bytes), values);
        return values;
      },
      readPacked: async (name) => {
        const entry = entries.get(name);
        if (entry === undefined) throw userError({ what: `tensor ${name} is missing`, where: path });
        if (entry.storedType === 'F32') return undefined;
        const bytes = await file.readShared(dataStart + entry.offset, entry.bytes);
        return {
          storedType: entry.storedType,
          length: elementCount(entry.shape) as number,
          bytes,
          merged: [],
        };
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Parses from the file's first bytes, taking twice as many until header and tensor table are whole. */
async function readHeader(file: RangeFile): Promise<Header> {
  for (let length = Math.min(file.size, 1 << 23); ; length = Math.min(file.size, length * 2)) {
    try {
      return parseHeader(new GgufCursor(await file.read(0, length), file.size, file.path));
    } catch (error) {
      if (!(error instanceof NeedMoreBytes)) throw error;
    }
  }
}

function parseHeader(cursor: GgufCursor): Header {
  if (cursor.size < 24) throw cursor.broken(`${cursor.size} bytes are too few for a header`);
  const magic = cursor.uint32();
  if (magic !== 0x46554747) throw cursor.broken('it does not begin with GGUF');
  const version = cursor.uint32();
  if (version !== 2 && version !== 3) {
    throw userError({
      what: 'cannot read this GGUF file',
      where: cursor.path,
      got: version >>> 24 !== 0 ? 'big-endian data' : `version ${version}`,
      expected: 'version 2 or 3, little-endian',
    });
  }
  const tensorCount = cursor.count('tensors', 24);
  const pairCount = cursor.count('metadata entries', 13);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < pairCount; i++) {
    const key = cursor.string(65535, 'a metadata key');
    if (metadata.has(key)) throw cursor.broken(`${key} appears twice`);
    metadata.set(key, cursor.value(key));
  }
  const alignment = metadata.get('general.alignment') ?? 32;
  if (typeof alignment !== 'number' || !Number.isInteger(alignment) || alignment < 1 || alignment > 1 << 20) {
    throw cursor.broken(`general.alignment is ${String(alignment)}`);
  }
  const entries = new Map<string, Entry>();
  for (let i = 0; i < tensorCount; i++) {
    const entry = parseEntry(cursor);
    if (entries.has(entry.name)) throw cursor.broken(`tensor ${entry.name} appears twice`);
    if (entry.offset % alignment !== 0)
      throw cursor.broken(
        `tensor ${entry.name} begins at byte ${entry.offset}, not a multiple of ${alignment}`,
      );
    entries.set(entry.name, entry);
  }
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  checkPlaces([...entries.values()], cursor.size - dataStart, cursor);
  return { metadata, entries, dataStart };
}

function parseEntry(cursor: GgufCursor): Entry {
  const name = cursor.string(maxNameBytes, 'a tensor name');
  const dimensions = cursor.uint32();
  if (dimensions > maxDimensions) throw cursor.broken(`tensor ${name} has ${dimensions} dimensions`);
  const shape = Array.from({ length: dimensions }, () =>
    cursor.size64(`a dimension of tensor ${name}`),
  ).reverse();
  const number = cursor.uint32();
  const offset = cursor.size64(`the offset of tensor ${name}`);
  const type = ggmlTypes.get(number);
  if (type?.expand === undefined) {
    throw userError({
      what: `cannot read tensor ${name}`,
      where: cursor.path,
      got: `type ${type?.name ?? number}`,
      expected: readableTypes.join(', '),
      hint: 'quantise the model to Q8_0 instead',
    });
  }
  const count = elementCount(shape);
  const row = shape.at(-1) ?? 1;
  if (count === undefined || count === 0 || row % type.blockSize !== 0) {
    throw cursor.broken(
      `tensor ${name} has the impossible shape [${shape.join(', ')}] for type ${type.name}`,
    );
  }
  return {
    name,
    shape,
    storedType: type.name,
    type,
    offset,
    bytes: (count / type.blockSize) * type.blockBytes,
  };
}

function checkPlaces(entries: readonly Entry[], dataBytes: number, cursor: GgufCursor): void {
  let end = 0;
  for (const entry of [...entries].sort((a, b) => a.offset - b.offset)) {
    if (entry.offset < end) throw cursor.broken(`tensor ${entry.name} overlaps the one before it`);
    end = entry.offset + entry.bytes;
    if (end > dataBytes)
      throw cursor.broken(`tensor ${entry.name} ends ${end - dataBytes} bytes past the end of the file`);
  }
}
