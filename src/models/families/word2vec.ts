import { z } from 'zod';
import { size } from './fields.js';
import { defineFamily } from './family.js';
import { llamaNames } from './llama-like.js';

/** A table of word vectors as a decoder without blocks: its last hidden state is the input embedding. Mikolov et al. 2013, arXiv:1301.3781. */
export const word2vec = defineFamily({
  modelType: 'word2vec',
  models: 'Word2Vec, trained here (`objective: word2vec`)',
  special: 'a table of word vectors, no blocks',
  names: { ...llamaNames, tied: true },
  schema: z.object({
    vocab_size: size,
    hidden_size: size,
    max_position_embeddings: size,
  }),
  describe: ({ vocab_size, hidden_size, max_position_embeddings }) => ({
    hidden_size,
    num_hidden_layers: 0,
    num_attention_heads: 1,
    num_key_value_heads: 1,
    head_dim: hidden_size,
    vocab_size,
    max_position_embeddings,
    tie_word_embeddings: true,
    embedding: { weight: 'model.embed_tokens.weight', width: hidden_size },
    blocks: 'model.layers.',
    structures: [],
    layers: [],
    ropes: {},
    output: { width: hidden_size, head: 'lm_head.weight' },
  }),
});
