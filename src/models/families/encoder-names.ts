import type { CheckpointNames } from '../weights/names.js';

/** What stands behind the last hidden state in released checkpoints: poolers, heads of masked-token prediction and of tasks. */
const behind = /^(pooler|cls|lm_head|classifier|qa_outputs|decoder|head)\./;
/** The counter 0, 1, 2 ... that old checkpoints keep. */
const counter = /^embeddings\.(position|token_type)_ids$/;

/**
 * Names of an encoder's base model, as AutoModel has them; a model with a head puts `prefix` before them.
 *
 * @param parts what the base model's names begin with
 */
export function encoderNames(prefix: string, parts: readonly string[]): CheckpointNames {
  return {
    prefix: '',
    parts,
    tied: true,
    own: (stored) => {
      const name = stored.startsWith(prefix) ? stored.slice(prefix.length) : stored;
      if (behind.test(name) || counter.test(name)) return undefined;
      // TensorFlow's words, which BERT's first releases keep.
      return name
        .replace(/LayerNorm\.gamma$/, 'LayerNorm.weight')
        .replace(/LayerNorm\.beta$/, 'LayerNorm.bias');
    },
  };
}
