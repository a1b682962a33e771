import { userError } from '../../shared/errors.js';
import { headSizes, type ArchKeys } from './gguf-keys.js';
import { ropeConfig } from './gguf-rope.js';
import type { GgufFile } from './gguf.js';
import type { JsonObject } from './types.js';

/** The keys of config.json that Llama and its kin share. */
export async function commonConfig(file: GgufFile, keys: ArchKeys, theta = 10000): Promise<JsonObject> {
  const { heads, keyHeads, headDim } = headSizes(keys);
  const hidden = keys.required('embedding_length');
  const epsilon = keys.number('attention.layer_norm_rms_epsilon');
  if (epsilon === undefined) {
    throw userError({
      what: `metadata ${keys.arch}.attention.layer_norm_rms_epsilon is missing`,
      where: file.path,
    });
  }
  return {
    vocab_size: vocabularySize(file, hidden),
    hidden_size: hidden,
    intermediate_size: keys.required('feed_forward_length'),
    num_hidden_layers: keys.required('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: keyHeads,
    head_dim: headDim,
    max_position_embeddings: keys.integer('context_length', 1) ?? 2048,
    rms_norm_eps: epsilon,
    rope_parameters: await ropeConfig(file, keys, { headDim, theta }),
    tie_word_embeddings: file.info('output.weight') === undefined,
    ...keys.specialTokens(),
  };
}

/** Rows of the embedding. @throws UserError where it is missing or has another width */
function vocabularySize(file: GgufFile, hidden: number): number {
  const embedding = file.info('token_embd.weight');
  const [rows, width] = embedding?.shape ?? [];
  if (embedding?.shape.length === 2 && width === hidden && rows !== undefined) return rows;
  throw userError({
    what:
      embedding === undefined
        ? 'tensor token_embd.weight is missing'
        : 'tensor token_embd.weight has the wrong shape',
    where: file.path,
    expected: `[vocabulary, ${hidden}]`,
  });
}
