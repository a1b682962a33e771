import { userError } from '../shared/errors.js';
import { lastPooling } from './last.js';
import { chosenLayers } from './layers.js';
import { ordinal, type Pooling } from './pooling.js';
import type { PoolingConfig } from './schema.js';

/** Names of the tokens: `<|emb1|>` and so on. */
export function tokenNames(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `<|emb${i + 1}|>`);
}

/**
 * Trained special tokens (ChatRetriever: Mao et al. 2024, arXiv:2404.13556): t tokens behind every text, whose rows of the embedding table are
 * trained (models/added-tokens.ts); e = h of the last of them, or sum h_i / t over them.
 * @throws UserError where no block is gone through, so that every text would have the same embedding
 */
export function specialTokensPooling(
  config: Extract<PoolingConfig, { readonly type: 'specialTokens' }>,
  layers: number,
): Pooling {
  const { tokens, aggregate } = config;
  if (chosenLayers(config, layers).blocks === 0)
    throw userError({
      what: 'special tokens have seen nothing of a text before the first block',
      where: 'pooling.layer',
      got: '0',
      expected: 'a layer above it',
    });
  if (aggregate === 'last' || tokens === 1) return lastPooling();
  return {
    weights: (membership) => {
      const behind = membership.sum(-1, true).sub(ordinal(membership));
      return behind.less(tokens).cast('float32').mul(membership).div(tokens);
    },
  };
}
