import { z } from 'zod';
import { initialiseSchema } from './initialise.js';

/** `embedded`, a folder, a GGUF file, a mapping with more to say about it, or the shape of a new decoder. The value is always a mapping. */
export const modelSchema = z
  .union([
    z.string().min(1),
    z.strictObject({
      path: z.string().min(1),
      /** `stored`: frozen weights stay as the file has them and are expanded block by block; `float32`: expanded once. */
      residentPrecision: z.enum(['stored', 'float32']).default('float32'),
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

/** The matrices of a block that an adapter can be put on, by their names in the checkpoint. */
export const blockMatrices = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'gate_proj',
  'up_proj',
  'down_proj',
] as const;

/** What is trained: low-rank adapters on `targetModules`, or every weight. */
export const tuningSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('lora'),
    rank: z.int().min(1).default(16),
    /** The adapter's product is scaled by alpha / rank. */
    alpha: z.number().gt(0).default(32),
    /** Share of the adapter's input that is dropped in training. */
    dropout: z.number().min(0).lt(1).default(0.05),
    targetModules: z
      .array(z.enum(blockMatrices))
      .min(1)
      .default([...blockMatrices]),
  }),
  z.strictObject({ type: z.literal('full') }),
]);
export type TuningConfig = Readonly<z.output<typeof tuningSchema>>;
