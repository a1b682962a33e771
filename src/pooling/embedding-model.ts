import { parsePrompt, preparer, type PoolScope, type TextPreparer } from '../data/prompts.js';
import type { PromptConfig } from '../data/schema.js';
import type { TextTokenizer } from '../data/tokenizer.js';
import type { Decoder } from '../models/decoder.js';
import type { AttentionMode, WindowMode } from '../models/schema.js';
import { userError } from '../shared/errors.js';
import { createPooling } from './registry.js';
import type { PoolingConfig } from './schema.js';

/** How a text becomes an embedding: all that has to travel with the weights. */
export interface EmbeddingRecipe {
  readonly attention: AttentionMode;
  readonly window: WindowMode;
  readonly pooling: PoolingConfig;
  /** Frame around every text, in training and in use; absent: the bare text. */
  readonly prompt?: PromptConfig;
  /** Longer texts are cut, their frame never. */
  readonly maxTokens: number;
}

/** One training that the weights went through. */
export interface LineageStep {
  readonly stage: string;
  readonly objective: string;
  readonly steps: number;
  readonly tuning: string;
}

/** A decoder together with the way it embeds. */
export interface EmbeddingModel {
  readonly decoder: Decoder;
  readonly recipe: EmbeddingRecipe;
  /** Trained parameters of the pooling, by name; empty for most. */
  readonly poolingParameters: ReadonlyMap<string, Float32Array>;
  /** Where the decoder came from, for cards and records. */
  readonly base: string;
  readonly lineage: readonly LineageStep[];
}

/**
 * The frame of a recipe and the tokens that are pooled. Where the prompt does not say which: a preset's own choice; the last token of
 * the whole for `last` and `eos`; otherwise the text's tokens, so that instructions stay out.
 */
export function promptParts({ prompt, pooling }: Pick<EmbeddingRecipe, 'prompt' | 'pooling'>): {
  readonly prompt?: string;
  readonly pool: PoolScope;
} {
  if (prompt === undefined) return { pool: 'all' };
  const frame = typeof prompt === 'string' ? prompt : prompt.frame;
  const given = typeof prompt === 'string' ? undefined : prompt.pool;
  const readsEnd = pooling.type === 'last' || pooling.type === 'eos';
  return { prompt: frame, pool: given ?? parsePrompt(frame).preset?.pool ?? (readsEnd ? 'all' : 'text') };
}

/** The tokeniser of a recipe: frame, truncation, end token and pool mask. */
export function recipePreparer(recipe: EmbeddingRecipe, tokenizer: TextTokenizer): TextPreparer {
  const { appendEos } = createPooling(recipe.pooling, 1);
  return preparer({
    tokenizer,
    ...promptParts(recipe),
    maxTokens: recipe.maxTokens,
    ...(appendEos === undefined ? {} : { appendEos }),
  });
}

/** Number of blocks that `pooling.layer` needs, and whether the final norm follows. 0 is the embedding, -1 and L the normed output of the last block. */
export function blocksOf(
  layer: number,
  layers: number,
  where = 'pooling.layer',
): { readonly blocks: number; readonly normed: boolean } {
  const blocks = layer < 0 ? layers + 1 + layer : layer;
  if (blocks < 0 || blocks > layers) {
    throw userError({
      what: `no such layer in a decoder of ${layers}`,
      where,
      got: String(layer),
      expected: `${-layers - 1} to ${layers}`,
    });
  }
  return { blocks, normed: blocks === layers };
}
