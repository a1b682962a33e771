import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseDecoderConfig } from '../src/models/families/index.js';
import { weightShapes } from '../src/models/weight-shapes.js';
import { floatToHalf } from '../src/models/weights/half.js';
import { writeSafetensors, type TensorToWrite } from '../src/models/weights/index.js';
import { hashString, randomStream } from '../src/shared/random.js';
import { assetPath } from '../src/shared/package.js';

/** Standard deviation of the matrices. */
const DEVIATION = 0.02;

/** A folder of random weights with the embedded model's tokenizer, one tensor in memory at a time. `config` is its config.json. */
export async function writeRandomFolder(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  storedType: TensorToWrite['storedType'],
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const tensors = [...weightShapes(parseDecoderConfig(config, folder))].map(
    ([name, shape]): TensorToWrite => ({ name, shape, storedType, data: () => randomValues(name, shape) }),
  );
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(assetPath('tiny'), name), join(folder, name));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  // Last: a folder that has it is whole.
  await writeFile(join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
}

/** Normal numbers, or 1 for a norm's weights and 0 for biases; a tensor depends on its name only. */
function randomValues(name: string, shape: readonly number[]): Float32Array {
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
  if (shape.length === 1) return data.fill(name.endsWith('.bias') ? 0 : 1);
  const random = randomStream(hashString(name));
  const table = Float32Array.from({ length: 1 << 14 }, () => DEVIATION * random.normal());
  const next = quickNumbers(hashString(name));
  for (let i = 0; i < data.length; i++) data[i] = table[next() >>> 18] as number;
  return data;
}

/** Numbers of 32 bits: `randomStream` would take minutes for a large model. */
function quickNumbers(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** The shape of a Llama or Mistral, as GGUF says it. */
export interface LlamaShape {
  readonly hidden: number;
  readonly feedForward: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly vocabulary: number;
  readonly context: number;
}

interface GgufTensor {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
}

const F32 = 0;
const Q4_0 = 2;
/** Bytes of a block of 32 values. */
const BLOCK = 18;

/** A GGUF file of random Q4_0 blocks with the embedded model's tokens, written in pieces of a few megabytes. */
export async function writeRandomGguf(path: string, shape: LlamaShape): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const tensors = ggufTensors(shape);
  const header = await ggufHeader(shape, tensors);
  const part = `${path}.part`;
  const file = createWriteStream(part);
  await write(file, header);
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (tensor.rows === 1) await write(file, Buffer.from(new Float32Array(tensor.columns).fill(1).buffer));
    else await writeBlocks(file, tensor);
    await write(file, Buffer.alloc(padding(bytes)));
  }
  file.end();
  await once(file, 'close');
  await rename(part, path);
}

function ggufTensors({ hidden, feedForward, layers, heads, keyHeads, vocabulary }: LlamaShape): GgufTensor[] {
  const keys = (hidden / heads) * keyHeads;
  const matrices: readonly (readonly [string, number, number])[] = [
    ['attn_norm', 1, hidden],
    ['attn_q', hidden, hidden],
    ['attn_k', keys, hidden],
    ['attn_v', keys, hidden],
    ['attn_output', hidden, hidden],
    ['ffn_norm', 1, hidden],
    ['ffn_gate', feedForward, hidden],
    ['ffn_up', feedForward, hidden],
    ['ffn_down', hidden, feedForward],
  ];
  const blocks = Array.from({ length: layers }, (_, layer) =>
    matrices.map(([name, rows, columns]) => ({ name: `blk.${layer}.${name}.weight`, rows, columns })),
  );
  return [
    { name: 'token_embd.weight', rows: vocabulary, columns: hidden },
    ...blocks.flat(),
    { name: 'output_norm.weight', rows: 1, columns: hidden },
    { name: 'output.weight', rows: vocabulary, columns: hidden },
  ];
}

function bytesOf({ rows, columns }: GgufTensor): number {
  return rows === 1 ? 4 * columns : ((rows * columns) / 32) * BLOCK;
}

function padding(bytes: number): number {
  return (32 - (bytes % 32)) % 32;
}

async function writeBlocks(file: WriteStream, tensor: GgufTensor): Promise<void> {
  const next = quickNumbers(hashString(tensor.name));
  // A level's standard deviation is 4.6 scales.
  const scale = floatToHalf(Float32Array.of(DEVIATION / 4.6))[0] as number;
  const piece = BLOCK * (1 << 18);
  const total = bytesOf(tensor);
  for (let done = 0; done < total; done += piece) {
    const bytes = new Uint8Array(Math.ceil(Math.min(piece, total - done) / 4) * 4);
    const words = new Uint32Array(bytes.buffer);
    for (let i = 0; i < words.length; i++) words[i] = next();
    for (let at = 0; at < bytes.length; at += BLOCK) {
      bytes[at] = scale & 255;
      bytes[at + 1] = scale >> 8;
    }
    await write(file, bytes.subarray(0, Math.min(piece, total - done)));
  }
}

async function write(file: WriteStream, bytes: Uint8Array): Promise<void> {
  if (!file.write(bytes)) await once(file, 'drain');
}

async function ggufHeader(shape: LlamaShape, tensors: readonly GgufTensor[]): Promise<Buffer> {
  const tokenizer = JSON.parse(await readFile(join(assetPath('tiny'), 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number>; merges: (string | string[])[] };
  };
  const { vocab } = tokenizer.model;
  const tokens = Object.keys(vocab).sort((a, b) => (vocab[a] as number) - (vocab[b] as number));
  const merges = tokenizer.model.merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' ')));
  const pairs: [string, Buffer][] = [
    ['general.architecture', text('llama')],
    ['llama.block_count', u32(shape.layers)],
    ['llama.context_length', u32(shape.context)],
    ['llama.embedding_length', u32(shape.hidden)],
    ['llama.feed_forward_length', u32(shape.feedForward)],
    ['llama.attention.head_count', u32(shape.heads)],
    ['llama.attention.head_count_kv', u32(shape.keyHeads)],
    ['llama.attention.layer_norm_rms_epsilon', f32(1e-5)],
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('smollm')],
    ['tokenizer.ggml.tokens', texts(tokens)],
    ['tokenizer.ggml.merges', texts(merges)],
    ['tokenizer.ggml.eos_token_id', u32(0)],
  ];
  let offset = 0;
  const places = tensors.map((tensor) => {
    const { name, rows, columns } = tensor;
    const sizes = rows === 1 ? [columns] : [columns, rows];
    const type = rows === 1 ? F32 : Q4_0;
    const place = [plain(name), word(sizes.length), ...sizes.map(long), word(type), long(offset)];
    offset += bytesOf(tensor) + padding(bytesOf(tensor));
    return Buffer.concat(place);
  });
  const header = Buffer.concat([
    Buffer.from('GGUF'),
    word(3),
    long(tensors.length),
    long(pairs.length),
    ...pairs.flatMap(([key, value]) => [plain(key), value]),
    ...places,
  ]);
  return Buffer.concat([header, Buffer.alloc(padding(header.length))]);
}

function word(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

function long(value: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
}

function plain(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  return Buffer.concat([long(bytes.length), bytes]);
}

// Metadata values begin with their type.
const u32 = (value: number): Buffer => Buffer.concat([word(4), word(value)]);
const f32 = (value: number): Buffer => Buffer.concat([word(6), Buffer.from(Float32Array.of(value).buffer)]);
const text = (value: string): Buffer => Buffer.concat([word(8), plain(value)]);
const texts = (values: readonly string[]): Buffer =>
  Buffer.concat([word(9), word(8), long(values.length), ...values.map(plain)]);
