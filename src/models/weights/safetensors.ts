import { shown, userError } from '../../shared/errors.js';
import { openRangeFile, type RangeFile } from './file-range.js';
import { brainToFloat, halfToFloat } from './half.js';
import { parseJsonObject } from './json-file.js';
import { elementCount, isJsonObject, type JsonObject, type TensorInfo, type WeightStore } from './types.js';

/** A safetensors file that is open for reading. */
export interface SafetensorsFile extends WeightStore {
  /** The header's `__metadata__`, strings by name. */
  readonly metadata: Readonly<Record<string, string>>;
}

interface Entry extends TensorInfo {
  /** Bytes [begin, end) after the header. */
  readonly begin: number;
  readonly end: number;
}

/** The reference implementation's own bound. */
const maxHeaderBytes = 100_000_000;

// prettier-ignore
const bytesPerElement: Readonly<Record<string, number>> = {
  F64: 8, F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, F8_E5M2: 1,
  I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1,
};

/**
 * Opens a safetensors file and checks its header as hostile input: bounded length, each tensor's bytes equal to its shape's, no gap, no overlap, nothing
 * past the end, no name twice. Layout: u64 n (little-endian), n bytes of JSON, data (github.com/huggingface/safetensors#format).
 * @throws UserError naming the file and the tensor.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await openRangeFile(path, 'safetensors file');
  try {
    const { entries, metadata, dataStart } = await readHeader(file);
    return {
      names: [...entries.keys()],
      metadata,
      info: (name) => entries.get(name),
      read: async (name) => readTensor(file, dataStart, entries.get(name), name),
      readPacked: async (name) => {
        const entry = entries.get(name);
        if (entry === undefined || !packedTypes.has(entry.storedType)) return undefined;
        const length = elementCount(entry.shape) as number;
        const bytes = await file.readShared(dataStart + entry.begin, entry.end - entry.begin);
        return { storedType: entry.storedType, length, bytes, merged: [] };
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readTensor(
  file: RangeFile,
  dataStart: number,
  entry: Entry | undefined,
  name: string,
): Promise<Float32Array> {
  if (entry === undefined) throw userError({ what: `tensor ${name} is missing`, where: file.path });
  const expand = expanders[entry.storedType];
  if (expand === undefined) {
    throw userError({
      what: `cannot use tensor ${name}`,
      where: file.path,
      got: `type ${entry.storedType}`,
      expected: 'F32, F16 or BF16',
    });
  }
  return expand(await file.read(dataStart + entry.begin, entry.end - entry.begin));
}

const expanders: Readonly<Record<string, (bytes: ArrayBuffer) => Float32Array>> = {
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => halfToFloat(new Uint16Array(bytes)),
  BF16: (bytes) => brainToFloat(new Uint16Array(bytes)),
};

const packedTypes: ReadonlySet<string> = new Set(['F16', 'BF16']);

interface Header {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly dataStart: number;
}

async function readHeader(file: RangeFile): Promise<Header> {
  const broken = (what: string): Error =>
    userError({ what: `broken safetensors file: ${what}`, where: file.path });
  if (file.size < 10) throw broken(`${file.size} bytes are too few for a header`);
  const length = new DataView(await file.read(0, 8)).getBigUint64(0, true);
  if (length > BigInt(Math.min(maxHeaderBytes, file.size - 8))) {
    throw broken(`header of ${length} bytes in a file of ${file.size}`);
  }
  const dataStart = 8 + Number(length);
  const bytes = await file.read(8, Number(length));
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw broken('the header is not UTF-8');
  }
  if (!text.startsWith('{')) throw broken('the header does not start with {');
  const json = parseJsonObject(text, `${file.path} header`);
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw broken(`${repeated} appears twice`);
  const metadata = metadataOf(json, broken);
  const entries = Object.entries(json)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => checkedEntry(name, value, broken))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const entry of entries) {
    if (entry.begin !== end)
      throw broken(`tensor ${entry.name} begins at byte ${entry.begin}, expected ${end}`);
    end = entry.end;
  }
  if (end !== file.size - dataStart)
    throw broken(`its tensors take ${end} bytes, the file holds ${file.size - dataStart}`);
  return { entries: new Map(entries.map((entry) => [entry.name, entry])), metadata, dataStart };
}

function metadataOf(json: JsonObject, broken: (what: string) => Error): Readonly<Record<string, string>> {
  const value = Object.hasOwn(json, '__metadata__') ? json['__metadata__'] : {};
  if (!isJsonObject(value)) throw broken('__metadata__ is not an object');
  const pairs = Object.entries(value).map(([key, text]): [string, string] => {
    if (typeof text !== 'string') throw broken(`__metadata__ ${key} is not a string`);
    return [key, text];
  });
  return Object.fromEntries(pairs);
}

function checkedEntry(name: string, value: unknown, broken: (what: string) => Error): Entry {
  if (!isJsonObject(value)) throw broken(`tensor ${name} is not an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  const elementBytes =
    typeof dtype === 'string' && Object.hasOwn(bytesPerElement, dtype) ? bytesPerElement[dtype] : undefined;
  if (elementBytes === undefined) throw broken(`tensor ${name} has the unknown type ${shown(dtype)}`);
  const count = Array.isArray(shape) ? elementCount(shape) : undefined;
  if (count === undefined) throw broken(`tensor ${name} has the impossible shape ${shown(shape)}`);
  const [begin, end] = Array.isArray(offsets) && offsets.length === 2 ? (offsets as unknown[]) : [];
  if (!isOffset(begin) || !isOffset(end))
    throw broken(`tensor ${name} has the impossible offsets ${shown(offsets)}`);
  if (end - begin !== count * elementBytes) {
    throw broken(
      `tensor ${name} has ${end - begin} bytes, its shape ${shown(shape)} in ${String(dtype)} takes ${count * elementBytes}`,
    );
  }
  return { name, shape: shape as number[], storedType: String(dtype), begin, end };
}

function isOffset(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** The first key that a JSON object's text has twice at its top level: JSON.parse would silently keep the last. */
function repeatedKey(text: string): string | undefined {
  const seen = new Set<string>();
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/gs;
  let depth = 0;
  for (const [part, colon] of text.matchAll(token)) {
    if (part === '{' || part === '[') depth += 1;
    else if (part === '}' || part === ']') depth -= 1;
    else if (depth === 1 && colon !== undefined) {
      const key = JSON.parse(part.slice(0, part.length - colon.length)) as string;
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return undefined;
}
