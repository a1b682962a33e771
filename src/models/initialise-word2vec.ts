import { z } from 'zod';
import { trainWords } from '../data/train-words.js';
import { hashKey, hashString, randomStream } from '../shared/random.js';
import type { NewTensor } from './initialise.js';
import type { DecoderSource, JsonObject } from './weights/types.js';

/** A new table of word vectors, with a vocabulary made of the words of `data.train`, or with the tokens of a model. */
export const word2vecShapeSchema = z.strictObject({
  family: z.literal('word2vec'),
  hidden_size: z.int().min(1).default(100),
  /** Tokens at most; all of a model's where `tokenizer` names one. */
  vocab_size: z.int().min(2).default(100_000),
  /** A word met less often is unknown: its vector is zero. */
  minimumCount: z.int().min(1).default(5),
  lowercase: z.boolean().default(true),
  /** `words`, or the model whose tokenizer is taken. */
  tokenizer: z.string().min(1).default('words'),
  max_position_embeddings: z.int().min(2).default(512),
});
export type Word2VecShape = Readonly<z.output<typeof word2vecShapeSchema>>;

export function word2vecConfig(shape: Word2VecShape, vocabularySize: number): JsonObject {
  return {
    model_type: 'word2vec',
    vocab_size: vocabularySize,
    hidden_size: shape.hidden_size,
    max_position_embeddings: shape.max_position_embeddings,
    torch_dtype: 'float32',
  };
}

/** Uniform in +- 0.5 / D, as the original begins; a token depends on seed and id only. The unknown word's vector, of id 0, is zero. */
export function initialiseWord2Vec(
  { hidden_size: D, tokenizer }: Pick<Word2VecShape, 'hidden_size' | 'tokenizer'>,
  { vocabularySize, seed }: { readonly vocabularySize: number; readonly seed: number },
): Map<string, NewTensor> {
  const name = 'model.embed_tokens.weight';
  const random = randomStream(hashKey(seed, hashString(name)));
  const data = Float32Array.from({ length: vocabularySize * D }, () => (random.uniform() - 0.5) / D);
  if (tokenizer === 'words') data.fill(0, 0, D);
  return new Map([[name, { shape: [vocabularySize, D], data }]]);
}

/** Tokenizer of a new table: its words are counted in the texts. @throws UserError where there are too few */
export function wordTokenizer(shape: Word2VecShape, texts: Iterable<string>): DecoderSource['tokenizer'] {
  return trainWords(texts, {
    vocabularySize: shape.vocab_size,
    minimumCount: shape.minimumCount,
    lowercase: shape.lowercase,
    maximumLength: shape.max_position_embeddings,
  });
}
