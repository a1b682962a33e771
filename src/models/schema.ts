import { z } from 'zod';
import { initialiseSchema } from './initialise.js';

/**
 * How frozen weights lie in memory: all in float32; as the file has them; or in fewer bits. Matrices of blocks and the embedding only, expanded to
 * float32 block by block just before it runs. int8 and int4 are GGUF's Q8_0 and Q4_0: 32 values with one scale.
 */
export const residentPrecisionSchema = z.enum(['float32', 'stored', 'bfloat16', 'int8', 'int4']);
export type ResidentPrecision = z.output<typeof residentPrecisionSchema>;

/** `embedded`, a folder, a GGUF file, a mapping with more to say about it, or the shape of a new decoder. The value is always a mapping. */
export const modelSchema = z
  .union([
    z.string().min(1),
    z.strictObject({
      path: z.string().min(1),
      residentPrecision: residentPrecisionSchema.default('float32'),
    }),
    /** Starts from fresh weights, with a tokenizer trained on `data.train`. */
    z.strictObject({ initialise: initialiseSchema }),
  ])
  .transform((model) =>
    typeof model === 'string' ? { path: model, residentPrecision: 'float32' as const } : model,
  );
export type ModelConfig = Readonly<z.output<typeof modelSchema>>;

/** Who sees whom: only earlier tokens, all tokens of the text, or all of them in the last n layers (BeLLM). */
export const attentionSchema = z.union([
  z.enum(['causal', 'bidirectional']),
  z.strictObject({ lastLayers: z.int().min(1) }),
]);
export type AttentionMode = Readonly<z.output<typeof attentionSchema>>;

/** Whether layers with a sliding window keep it. LLM2Vec drops Mistral's. */
export const windowSchema = z.enum(['keep', 'drop']);
export type WindowMode = z.output<typeof windowSchema>;

/** The matrices of a block that an adapter can be put on, by the last parts of their names in the checkpoints. */
export const adaptedMatrices = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'gate_proj',
  'up_proj',
  'down_proj',
  // Phi-3
  'qkv_proj',
  'gate_up_proj',
  // GPT-2
  'c_attn',
  'c_fc',
  'c_proj',
  // GPT-NeoX
  'query_key_value',
  'dense',
  'dense_h_to_4h',
  'dense_4h_to_h',
  // OPT
  'out_proj',
  'fc1',
  'fc2',
  // BERT and its kin
  'query',
  'key',
  'value',
  // ModernBERT
  'Wqkv',
  'Wo',
  'Wi',
  // Experts of Mixtral: gate, down, up
  'w1',
  'w2',
  'w3',
] as const;

/** What is trained: low-rank adapters on `targetModules`, the biases, every weight, or nothing of the decoder. */
export const tuningSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('lora'),
    rank: z.int().min(1).default(16),
    /** The adapter's product is scaled by alpha / rank. */
    alpha: z.number().gt(0).default(32),
    /** Share of the adapter's input that is dropped in training. */
    dropout: z.number().min(0).lt(1).default(0.05),
    /** Names of matrices (`gate_proj`: of every expert too), or all of them but the experts that a router chooses; a family has some of these. */
    targetModules: z.union([z.literal('all'), z.array(z.enum(adaptedMatrices)).min(1)]).default('all'),
  }),
  /**
   * The biases of the blocks (BitFit, arXiv:2106.10199), those of norms too: where a decoder has some, these and no others; where it has none
   * (Llama, Mistral, Gemma, Qwen3 ...), one that starts at zero on every matrix that `targetModules: all` means.
   */
  z.strictObject({ type: z.literal('bitfit') }),
  z.strictObject({ type: z.literal('full') }),
  /** The decoder stays as it is: only what stands behind its blocks is trained (a pooling, a mix of layers, a head). */
  z.strictObject({ type: z.literal('none') }),
]);
export type TuningConfig = Readonly<z.output<typeof tuningSchema>>;
