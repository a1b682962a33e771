import { parsePrompt, type PromptFrame } from '../data/prompt-frame.js';
import type { PoolScope } from '../data/prompt-presets.js';
import { preparer, type TextPreparer } from '../data/prompts.js';
import type { PromptConfig } from '../data/schema.js';
import type { TextTokenizer } from '../data/tokenizer.js';
import type { Decoder } from '../models/decoder.js';
import type { AttentionMode, WindowMode } from '../models/schema.js';
import { appendsEos, readsEnd, specialTokens } from './registry.js';
import type { PoolingConfig } from './schema.js';

/** How a text becomes an embedding: all that has to travel with the weights. */
export interface EmbeddingRecipe {
  readonly attention: AttentionMode;
  readonly window: WindowMode;
  readonly pooling: PoolingConfig;
  /** Frame around every text, in training and in use; absent: the bare text. */
  readonly prompt?: PromptConfig;
  /** Further frames by name, for the kinds of text that the model was trained with. */
  readonly prompts?: Readonly<Record<string, PromptConfig>>;
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
 * The frame of a recipe and the tokens that are pooled. Where the prompt does not say which: the last token of the whole for poolings that
 * read the end; otherwise the text's tokens, so that instructions stay out. Special tokens stand behind the whole, and nothing else is pooled.
 */
export function promptParts({ prompt, pooling }: Pick<EmbeddingRecipe, 'prompt' | 'pooling'>): {
  readonly frame?: PromptFrame;
  readonly pool: PoolScope;
} {
  if (prompt === undefined) return { pool: 'all' };
  const frame = parsePrompt(prompt);
  // The bare text, however it is said.
  if (frame.template === '{text}' && frame.pool === undefined && frame.preparation === 'none')
    return { pool: 'all' };
  if (pooling.type === 'specialTokens') return { frame, pool: 'all' };
  return { frame, pool: frame.pool ?? (readsEnd(pooling) ? 'all' : 'text') };
}

/** The recipe with another frame: the name of one of its own prompts, or what `prompt` takes. */
export function withPrompt(recipe: EmbeddingRecipe, prompt: PromptConfig | undefined): EmbeddingRecipe {
  if (prompt === undefined) return recipe;
  const named = typeof prompt === 'string' && Object.hasOwn(recipe.prompts ?? {}, prompt);
  return { ...recipe, prompt: (named ? recipe.prompts?.[prompt] : undefined) ?? prompt };
}

/** The recipe as it is, and with each of its further prompts, by their names. */
export function allPrompts(
  recipe: EmbeddingRecipe,
): readonly { readonly name?: string; readonly recipe: EmbeddingRecipe }[] {
  const named = Object.entries(recipe.prompts ?? {}).map(([name, prompt]) => ({
    name,
    recipe: { ...recipe, prompt },
  }));
  return [{ recipe }, ...named];
}

/** The tokeniser of a recipe: frame, truncation, end token and pool mask. */
export function recipePreparer(
  recipe: EmbeddingRecipe,
  tokenizer: TextTokenizer,
  tooLong: 'cut' | 'refuse' = 'cut',
): TextPreparer {
  return preparer({
    tokenizer,
    tooLong,
    ...(recipe.prompt === undefined ? {} : { prompt: recipe.prompt }),
    pool: promptParts(recipe).pool,
    maxTokens: recipe.maxTokens,
    appendEos: appendsEos(recipe.pooling),
    append: specialTokens(recipe.pooling),
  });
}

/** Fewer tokens than this are not worth a shape of their own. */
const SHORTEST_PREFIX = 8;

/**
 * The tokens with which almost every text of a recipe begins, where they are the same for all and nothing behind them changes them: the frame
 * before the text, under causal attention. Undefined where there is no such beginning, or too short a one. (A text whose first characters
 * merge with the frame's last ones begins otherwise: who uses the prefix has to look.)
 */
export function constantPrefix(recipe: EmbeddingRecipe, tokenizer: TextTokenizer): Int32Array | undefined {
  if (promptParts(recipe).frame === undefined || recipe.attention !== 'causal') return undefined;
  const prepare = recipePreparer(recipe, tokenizer);
  const [first, ...others] = ['a', 'T', '7', 'z'].map((text) => prepare(text));
  if (first === undefined) return undefined;
  let length = 0;
  while (
    others.every(({ ids }) => length < ids.length - 1 && ids[length] === first.ids[length]) &&
    [first, ...others].every(({ pool }) => pool[length] === 0)
  )
    length++;
  return length < SHORTEST_PREFIX ? undefined : first.ids.slice(0, length);
}
