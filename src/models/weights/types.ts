/** What a file says about one tensor. `storedType` is the file's own word: F32, BF16, Q4_1 ... */
export interface TensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly storedType: string;
}

/** What an adapter adds to a matrix: scale * B A, A [rank, in], B [out, rank]. */
export interface MergedAdapter {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly rank: number;
  readonly scale: number;
  /** Of the matrix: [out, in] (default) or [in, out]. */
  readonly layout?: 'outIn' | 'inOut';
}

/** A tensor in memory as its file has it: a few bytes or bits a value. */
export interface PackedTensor {
  /** The name of a type that is a key of `storageTypes`. */
  readonly storedType: string;
  /** Number of values. */
  readonly length: number;
  /** In memory that threads share. */
  readonly bytes: Uint8Array;
  /** Added whenever the values are expanded, one after the other. */
  readonly merged: MergedAdapter[];
  /** Float32 values in the place of those from `from` on, or behind all that is packed: rows that are trained. */
  readonly replaced?: { readonly from: number; readonly values: Float32Array };
}

/** Tensors on disk, read one at a time and expanded to float32. */
export interface WeightStore {
  readonly names: readonly string[];
  info(name: string): TensorInfo | undefined;
  /** The whole tensor, row-major. @throws UserError where it is missing or cannot be expanded. */
  read(name: string): Promise<Float32Array>;
  /** The whole tensor as it is stored; undefined where it is float32 or its values are made when they are read. */
  readPacked?(name: string): Promise<PackedTensor | undefined>;
  close(): Promise<void>;
}

/** A JSON object as it was on disk: checked where it is used. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** A decoder on disk, whatever its format, in Hugging Face words. */
export interface DecoderSource {
  readonly path: string;
  readonly format: 'folder' | 'gguf';
  /** `config.json` of transformers 4 or 5; synthesised in version 5's words for GGUF. */
  readonly config: JsonObject;
  /** Names of the causal language model: `model.embed_tokens.weight` ... `lm_head.weight`, which is absent where tied or not in the file. */
  readonly weights: WeightStore;
  /** `tokenizer.json` and `tokenizer_config.json`, without a chat template. */
  readonly tokenizer: { readonly json: JsonObject; readonly config: JsonObject };
}

/** Number of elements, or undefined where the shape is not a list of sizes or the product is not an exact integer. */
export function elementCount(shape: readonly unknown[]): number | undefined {
  let count = 1;
  for (const size of shape) {
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined;
    count *= size;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
