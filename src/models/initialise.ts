import { z } from 'zod';
import { trainBpe } from '../data/train-bpe.js';
import { createTokenizer } from '../data/tokenizer.js';
import { internalError } from '../shared/errors.js';
import { hashKey, hashString, randomStream } from '../shared/random.js';
import {
  initialiseWord2Vec,
  word2vecConfig,
  word2vecShapeSchema,
  wordTokenizer,
  type Word2VecShape,
} from './initialise-word2vec.js';
import type { DecoderSource, JsonObject, WeightStore } from './weights/types.js';

/** A Llama that starts from nothing, in the words of its config.json. */
export const llamaShapeSchema = z
  .strictObject({
    family: z.literal('llama'),
    vocab_size: z.int().min(257).max(65536),
    hidden_size: z.int().min(2),
    intermediate_size: z.int().min(1),
    num_hidden_layers: z.int().min(1),
    num_attention_heads: z.int().min(1),
    /** `num_attention_heads` where it is left out. */
    num_key_value_heads: z.int().min(1).optional(),
    max_position_embeddings: z.int().min(2).default(512),
    rope_theta: z.number().gt(0).default(10000),
    rms_norm_eps: z.number().gt(0).default(1e-5),
    tie_word_embeddings: z.boolean().default(true),
    /** Standard deviation of the matrices. */
    initializer_range: z.number().gt(0).default(0.02),
  })
  .refine((shape) => shape.hidden_size % (2 * shape.num_attention_heads) === 0, {
    path: ['hidden_size'],
    message: 'a multiple of 2 x num_attention_heads',
  })
  .refine((shape) => shape.num_attention_heads % (shape.num_key_value_heads ?? 1) === 0, {
    path: ['num_key_value_heads'],
    message: 'a divisor of num_attention_heads',
  });
export type LlamaShape = Readonly<z.output<typeof llamaShapeSchema>>;

/** The shape of a decoder that starts from nothing. */
export const initialiseSchema = z.discriminatedUnion('family', [llamaShapeSchema, word2vecShapeSchema]);
export type DecoderShape = LlamaShape | Word2VecShape;

export interface NewTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** `config.json` of a decoder of this shape; the end token has id 0 (`trainBpe`). */
export function llamaConfig(shape: LlamaShape): JsonObject {
  const { family, num_key_value_heads: keyValueHeads, ...rest } = shape;
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: family,
    ...rest,
    num_key_value_heads: keyValueHeads ?? shape.num_attention_heads,
    head_dim: shape.hidden_size / shape.num_attention_heads,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: 0,
    eos_token_id: 0,
    pad_token_id: 0,
    torch_dtype: 'float32',
  };
}

/**
 * Fresh weights by their names in a checkpoint: matrices normal with `initializer_range`, those that write to the residual stream
 * (o_proj, down_proj) scaled by 1 / sqrt(2 layers) as in GPT-2 (Radford et al. 2019, 2.3), norms 1. A tensor depends on seed and name only.
 */
export function initialiseLlama(shape: LlamaShape, seed: number): Map<string, NewTensor> {
  const { hidden_size: D, intermediate_size: F, vocab_size: V, num_hidden_layers: layers } = shape;
  const keyValueWidth =
    (D / shape.num_attention_heads) * (shape.num_key_value_heads ?? shape.num_attention_heads);
  const deviation = shape.initializer_range;
  const residual = deviation / Math.sqrt(2 * layers);
  const tensors = new Map<string, NewTensor>();
  const matrix = (name: string, rows: number, columns: number, standardDeviation: number): void => {
    const random = randomStream(hashKey(seed, hashString(name)));
    const data = Float32Array.from({ length: rows * columns }, () => standardDeviation * random.normal());
    tensors.set(name, { shape: [rows, columns], data });
  };
  const norm = (name: string): void =>
    void tensors.set(name, { shape: [D], data: new Float32Array(D).fill(1) });

  matrix('model.embed_tokens.weight', V, D, deviation);
  for (let layer = 0; layer < layers; layer++) {
    const block = `model.layers.${layer}`;
    norm(`${block}.input_layernorm.weight`);
    matrix(`${block}.self_attn.q_proj.weight`, D, D, deviation);
    matrix(`${block}.self_attn.k_proj.weight`, keyValueWidth, D, deviation);
    matrix(`${block}.self_attn.v_proj.weight`, keyValueWidth, D, deviation);
    matrix(`${block}.self_attn.o_proj.weight`, D, D, residual);
    norm(`${block}.post_attention_layernorm.weight`);
    matrix(`${block}.mlp.gate_proj.weight`, F, D, deviation);
    matrix(`${block}.mlp.up_proj.weight`, F, D, deviation);
    matrix(`${block}.mlp.down_proj.weight`, D, F, residual);
  }
  norm('model.norm.weight');
  if (!shape.tie_word_embeddings) matrix('lm_head.weight', V, D, deviation);
  return tensors;
}

export interface InitialiseOptions {
  readonly shape: DecoderShape;
  readonly seed: number;
  /** The tokenizer is trained on these. */
  readonly texts: Iterable<string>;
  /** In place of one that is trained on the texts. */
  readonly tokenizer?: DecoderSource['tokenizer'];
}

/** A decoder from nothing, to be used like one that was opened: fresh weights and a tokenizer of its own. @throws UserError */
export function initialiseDecoder(options: InitialiseOptions): DecoderSource {
  const { shape, seed, texts } = options;
  if (shape.family === 'word2vec') {
    const tokenizer = options.tokenizer ?? wordTokenizer(shape, texts);
    const vocabularySize = createTokenizer(tokenizer.json, tokenizer.config).size;
    return {
      path: 'new word2vec',
      format: 'folder',
      config: word2vecConfig(shape, vocabularySize),
      weights: storeInMemory(initialiseWord2Vec(shape, { vocabularySize, seed })),
      tokenizer,
    };
  }
  const tokenizer = trainBpe(texts, {
    vocabularySize: shape.vocab_size,
    maximumLength: shape.max_position_embeddings,
  });
  return {
    path: `new ${shape.family}`,
    format: 'folder',
    config: llamaConfig(shape),
    weights: storeInMemory(initialiseLlama(shape, seed)),
    tokenizer,
  };
}

function storeInMemory(tensors: ReadonlyMap<string, NewTensor>): WeightStore {
  return {
    names: [...tensors.keys()],
    info: (name) => {
      const tensor = tensors.get(name);
      return tensor === undefined ? undefined : { name, shape: tensor.shape, storedType: 'F32' };
    },
    read: (name) => {
      const tensor = tensors.get(name);
      // A copy: training writes into what it has read.
      if (tensor !== undefined) return Promise.resolve(tensor.data.slice());
      return Promise.reject(internalError(`no tensor ${name} in a new decoder`));
    },
    close: () => Promise.resolve(),
  };
}
