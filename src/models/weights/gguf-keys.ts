import { metadataReader } from './gguf-metadata.js';
import type { GgufFile } from './gguf.js';
import type { JsonObject } from './types.js';

/** Metadata under an architecture's name: `qwen2.block_count`. */
export interface ArchKeys {
  readonly arch: string;
  integer(key: string, minimum?: number): number | undefined;
  number(key: string): number | undefined;
  boolean(key: string): boolean | undefined;
  text(key: string): string | undefined;
  /** A whole number of at least 1. @throws UserError where it is missing */
  required(key: string): number;
  specialTokens(): JsonObject;
}

export function archKeys(file: GgufFile, arch: string): ArchKeys {
  const metadata = metadataReader(file);
  const whole = (key: string): string => `${arch}.${key}`;
  const integer = (key: string, minimum?: number): number | undefined =>
    metadata.integer(whole(key), minimum);
  return {
    arch,
    integer,
    number: (key) => {
      const value = metadata.number(whole(key));
      return value === undefined ? undefined : shortest(value);
    },
    boolean: (key) => metadata.boolean(whole(key)),
    text: (key) => metadata.text(whole(key)),
    required: (key) => metadata.required(whole(key), integer(key, 1)),
    specialTokens: () => ({
      bos_token_id: metadata.integer('tokenizer.ggml.bos_token_id') ?? null,
      eos_token_id: metadata.integer('tokenizer.ggml.eos_token_id') ?? null,
      dtype: 'float32',
    }),
  };
}

/** The shortest decimal of a float32: 1e-5, not 9.999999747378752e-6. */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return rounded;
  }
  return value;
}

/** Heads of the attention and their size. */
export interface HeadSizes {
  readonly heads: number;
  readonly keyHeads: number;
  readonly headDim: number;
}

export function headSizes(keys: ArchKeys): HeadSizes {
  const heads = keys.required('attention.head_count');
  return {
    heads,
    keyHeads: keys.integer('attention.head_count_kv', 1) ?? heads,
    headDim: keys.integer('attention.key_length', 1) ?? Math.floor(keys.required('embedding_length') / heads),
  };
}
