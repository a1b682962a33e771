import { userError } from '../../shared/errors.js';
import { shortest } from './gguf-config.js';
import type { GgufFamily } from './gguf-families.js';
import { metadataReader, type MetadataReader } from './gguf-metadata.js';
import { llamaInside, llamaOutside } from './gguf-names.js';
import type { GgufFile } from './gguf.js';
import { renamedStore } from './names.js';
import type { JsonObject, WeightStore } from './types.js';

/** Llama: q and k rows are interleaved for GGML's rotary embedding and are put back into Hugging Face's order here. */
export const llamaFamily: GgufFamily = { config: llamaConfig, weights: llamaWeights };

interface Shape {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
}

function llamaShape(file: GgufFile, metadata: MetadataReader): Shape {
  const heads = metadata.required(
    'llama.attention.head_count',
    metadata.integer('llama.attention.head_count', 1),
  );
  const keyValueHeads = metadata.integer('llama.attention.head_count_kv', 1) ?? heads;
  const hidden = metadata.required('llama.embedding_length', metadata.integer('llama.embedding_length', 1));
  const headDim = metadata.integer('llama.attention.key_length', 1) ?? hidden / heads;
  const rotated = metadata.integer('llama.rope.dimension_count', 1) ?? headDim;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0 || rotated !== headDim) {
    throw userError({
      what: 'attention heads do not fit',
      where: file.path,
      got: `${heads} heads, head size ${headDim}, ${rotated} rotated`,
      expected: 'an even head size, all of it rotated',
    });
  }
  return { heads, keyValueHeads, headDim };
}

async function llamaConfig(file: GgufFile): Promise<JsonObject> {
  const metadata = metadataReader(file);
  const integer = (key: string): number => metadata.required(key, metadata.integer(key, 1));
  const { heads, keyValueHeads, headDim } = llamaShape(file, metadata);
  if ((metadata.integer('llama.expert_count') ?? 0) > 0) {
    throw userError({
      what: 'mixture-of-experts models are not supported',
      where: file.path,
      got: 'llama.expert_count',
    });
  }
  const embedding = file.info('token_embd.weight');
  if (embedding?.shape.length !== 2 || embedding.shape[1] !== integer('llama.embedding_length')) {
    throw userError({
      what:
        embedding === undefined
          ? 'tensor token_embd.weight is missing'
          : 'tensor token_embd.weight has the wrong shape',
      where: file.path,
      expected: `[vocabulary, ${integer('llama.embedding_length')}]`,
    });
  }
  const epsilonKey = 'llama.attention.layer_norm_rms_epsilon';
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: embedding.shape[0],
    hidden_size: integer('llama.embedding_length'),
    intermediate_size: integer('llama.feed_forward_length'),
    num_hidden_layers: integer('llama.block_count'),
    num_attention_heads: heads,
    num_key_value_heads: keyValueHeads,
    head_dim: headDim,
    hidden_act: 'silu',
    max_position_embeddings: metadata.integer('llama.context_length', 1) ?? 2048,
    rms_norm_eps: shortest(metadata.required(epsilonKey, metadata.number(epsilonKey))),
    rope_parameters: await ropeParameters(file, metadata, headDim),
    attention_bias: file.info('blk.0.attn_q.bias') !== undefined,
    mlp_bias: file.info('blk.0.ffn_up.bias') !== undefined,
    tie_word_embeddings: file.info('output.weight') === undefined,
    bos_token_id: metadata.integer('tokenizer.ggml.bos_token_id') ?? null,
    eos_token_id: metadata.integer('tokenizer.ggml.eos_token_id') ?? null,
    dtype: 'float32',
  };
}

async function ropeParameters(
  file: GgufFile,
  metadata: MetadataReader,
  headDim: number,
): Promise<JsonObject> {
  const theta = shortest(metadata.number('llama.rope.freq_base') ?? 10000);
  if (file.info('rope_freqs.weight') !== undefined) {
    return llama3Rope(file, { theta, headDim, factors: await file.read('rope_freqs.weight') });
  }
  const factor =
    metadata.number('llama.rope.scaling.factor') ?? metadata.number('llama.rope.scale_linear') ?? 1;
  const type = metadata.text('llama.rope.scaling.type') ?? (factor === 1 ? 'none' : 'linear');
  if (type === 'none' || (type === 'linear' && factor === 1))
    return { rope_type: 'default', rope_theta: theta };
  if (type === 'linear' && factor > 0)
    return { rope_type: 'linear', rope_theta: theta, factor: shortest(factor) };
  throw userError({
    what: 'this rotary scaling is not supported',
    where: file.path,
    got: `llama.rope.scaling.type ${type}, factor ${factor}`,
    expected: 'none, linear or the factors of Llama 3.1',
  });
}

/**
 * Llama 3.1 and later: GGUF keeps one divisor per frequency instead of the scaling's parameters. All released models have low 1, high 4 and
 * original length 8192; the divisors prove it or the file is refused (transformers, modeling_rope_utils.py, _compute_llama3_parameters).
 */
function llama3Rope(
  file: GgufFile,
  rope: { theta: number; headDim: number; factors: Float32Array },
): JsonObject {
  const { theta, headDim, factors } = rope;
  const factor = shortest(factors.at(-1) ?? 1);
  const [low, high, original] = [1, 4, 8192];
  const fits =
    factors.length === headDim / 2 &&
    factors.every((value, i) => {
      const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
      const smooth = Math.min(1, Math.max(0, (original / wavelength - low) / (high - low)));
      return Math.abs(value * ((1 - smooth) / factor + smooth) - 1) < 1e-4;
    });
  if (!fits) {
    throw userError({
      what: 'cannot read the rotary scaling in rope_freqs.weight',
      where: file.path,
      expected: 'the factors of Llama 3.1, 3.2 or 3.3',
    });
  }
  return {
    rope_type: 'llama3',
    rope_theta: theta,
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}

function llamaWeights(file: GgufFile): WeightStore {
  const shape = llamaShape(file, metadataReader(file));
  const stored = new Map<string, string>();
  for (const name of file.names) {
    if (name !== 'rope_freqs.weight') stored.set(canonicalName(name, file), name);
  }
  const renamed = renamedStore(file, stored);
  /** Of a tensor whose rows are interleaved; undefined for others. */
  const interleavedHeads = (name: string): number | undefined => {
    const projection = /\.self_attn\.(q|k)_proj\.(weight|bias)$/.exec(name)?.[1];
    if (projection === undefined) return undefined;
    const heads = projection === 'q' ? shape.heads : shape.keyValueHeads;
    const rows = renamed.info(name)?.shape[0] ?? 0;
    if (rows === heads * shape.headDim) return heads;
    throw userError({
      what: `tensor ${stored.get(name) ?? name} has the wrong shape`,
      where: file.path,
      got: `${rows} rows`,
      expected: `${heads} heads of ${shape.headDim}`,
    });
  };
  return {
    ...renamed,
    read: async (name) => {
      const data = await renamed.read(name);
      const heads = interleavedHeads(name);
      if (heads === undefined) return data;
      const target = new Float32Array(data.length);
      unpermuteRows(data, target, { heads, headDim: shape.headDim });
      return target;
    },
    readPacked: async (name) => {
      const packed = await renamed.readPacked?.(name);
      const heads = interleavedHeads(name);
      if (packed === undefined || heads === undefined) return packed;
      const bytes = new Uint8Array(new SharedArrayBuffer(packed.bytes.length));
      // A row has whole blocks, so that its bytes move as its values do.
      unpermuteRows(packed.bytes, bytes, { heads, headDim: shape.headDim });
      return { ...packed, bytes };
    },
  };
}

function canonicalName(name: string, file: GgufFile): string {
  const block = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name);
  const part = block?.[2] ?? '';
  const inside = Object.hasOwn(llamaInside, part) ? llamaInside[part] : undefined;
  if (block !== null && inside !== undefined)
    return `model.layers.${Number(block[1])}.${inside}.${block[3] ?? ''}`;
  const known = Object.hasOwn(llamaOutside, name) ? llamaOutside[name] : undefined;
  if (known !== undefined) return known;
  throw userError({ what: `tensor ${name} has no place in a Llama`, where: file.path });
}

/**
 * Rows [heads, headDim/2, 2] as GGML's rotary embedding pairs them -> [heads, 2, headDim/2] as Hugging Face does, of values or of whole bytes.
 */
export function unpermuteRows<Numbers extends Float32Array | Uint8Array>(
  data: Numbers,
  target: Numbers,
  { heads, headDim }: { readonly heads: number; readonly headDim: number },
): void {
  const columns = data.length / (heads * headDim);
  const half = headDim / 2;
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < half; i++) {
      for (let side = 0; side < 2; side++) {
        const from = (head * headDim + 2 * i + side) * columns;
        target.set(data.subarray(from, from + columns), (head * headDim + side * half + i) * columns);
      }
    }
  }
}
