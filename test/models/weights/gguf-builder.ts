/** A metadata value with its GGUF type, or a list of one type. */
export type Pair = readonly [
  key: string,
  type: 'u32' | 'f32' | 'bool' | 'string' | 'strings' | 'i32s' | 'f32s',
  value: unknown,
];

export interface TensorSpec {
  readonly name: string;
  /** Fastest dimension first, as in the file. */
  readonly dimensions: readonly number[];
  readonly type: number;
  readonly offset: number;
}

export interface GgufSpec {
  readonly magic?: string;
  readonly version?: number;
  readonly tensorCount?: number;
  readonly pairs: readonly Pair[];
  readonly tensors: readonly TensorSpec[];
  readonly dataBytes: number;
}

/** The bytes of a GGUF file, right or wrong as the spec says; the data are zeros. */
export function buildGguf(spec: GgufSpec): Buffer {
  const parts: Buffer[] = [
    Buffer.from(spec.magic ?? 'GGUF'),
    u32(spec.version ?? 3),
    u64(spec.tensorCount ?? spec.tensors.length),
    u64(spec.pairs.length),
  ];
  for (const [key, type, value] of spec.pairs) parts.push(text(key), ...encoded(type, value));
  for (const tensor of spec.tensors) {
    parts.push(
      text(tensor.name),
      u32(tensor.dimensions.length),
      ...tensor.dimensions.map(u64),
      u32(tensor.type),
      u64(tensor.offset),
    );
  }
  const header = Buffer.concat(parts);
  const padding = (32 - (header.length % 32)) % 32;
  return Buffer.concat([header, Buffer.alloc(padding + spec.dataBytes)]);
}

export function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

export function u64(value: number | bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
}

export function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  return Buffer.concat([u64(bytes.length), bytes]);
}

function f32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeFloatLE(value);
  return buffer;
}

function encoded(type: Pair[1], value: unknown): Buffer[] {
  const list = value as readonly never[];
  switch (type) {
    case 'u32':
      return [u32(4), u32(value as number)];
    case 'f32':
      return [u32(6), f32(value as number)];
    case 'bool':
      return [u32(7), Buffer.from([value === true ? 1 : 0])];
    case 'string':
      return [u32(8), text(value as string)];
    case 'strings':
      return [u32(9), u32(8), u64(list.length), ...list.map(text)];
    case 'i32s':
      return [u32(9), u32(5), u64(list.length), ...list.map(u32)];
    case 'f32s':
      return [u32(9), u32(6), u64(list.length), ...list.map(f32)];
  }
}

const blockTensors = [
  'attn_norm',
  'attn_q',
  'attn_k',
  'attn_v',
  'attn_output',
  'ffn_norm',
  'ffn_gate',
  'ffn_up',
  'ffn_down',
];

/** A whole Llama of zeros: hidden 8, 2 heads, feed-forward 8, 1 layer, F32. `changed` replaces metadata by key; undefined removes. */
export function tinyLlama(
  tokens: readonly string[],
  changed: Readonly<Record<string, Pair | undefined>> = {},
): GgufSpec {
  const pairs: Pair[] = [
    ['general.architecture', 'string', 'llama'],
    ['llama.block_count', 'u32', 1],
    ['llama.context_length', 'u32', 64],
    ['llama.embedding_length', 'u32', 8],
    ['llama.feed_forward_length', 'u32', 8],
    ['llama.attention.head_count', 'u32', 2],
    ['llama.attention.layer_norm_rms_epsilon', 'f32', 1e-5],
    ['tokenizer.ggml.model', 'string', 'gpt2'],
    ['tokenizer.ggml.tokens', 'strings', tokens],
    ['tokenizer.ggml.merges', 'strings', []],
  ];
  const kept = pairs.filter(([key]) => !(key in changed));
  const added = Object.values(changed).filter((pair) => pair !== undefined);
  const tensors: TensorSpec[] = [];
  let offset = 0;
  const add = (name: string, dimensions: readonly number[]): void => {
    tensors.push({ name, dimensions, type: 0, offset });
    offset += Math.ceil(dimensions.reduce((a, b) => a * b, 4) / 32) * 32;
  };
  add('token_embd.weight', [8, tokens.length]);
  add('output_norm.weight', [8]);
  for (const name of blockTensors) add(`blk.0.${name}.weight`, name.endsWith('norm') ? [8] : [8, 8]);
  return { pairs: [...kept, ...added], tensors, dataBytes: offset };
}
