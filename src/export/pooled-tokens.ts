import { bareFrame, type PromptFrame } from '../data/prompt-frame.js';
import type { TextTokenizer } from '../data/tokenizer.js';
import { allPrompts, promptParts, type EmbeddingRecipe } from '../pooling/embedding-model.js';
import type { PooledTokens } from '../pooling/manifest.js';
import { appendsEos } from '../pooling/registry.js';
import { assertNever } from '../shared/errors.js';

/**
 * The graphs of a recipe. `model`, with two inputs, is written only where a graph can find the pooled tokens by itself, in the same
 * way for each of the recipe's prompts; where it cannot, or not for every frame, `model_pool_mask` takes them as a third input.
 */
export function pooledGraphs(
  recipe: EmbeddingRecipe,
  tokenizer: TextTokenizer,
): readonly { readonly name: string; readonly pooled: PooledTokens }[] {
  const [first, ...others] = allPrompts(recipe).map((each) => pooledByGraph(each.recipe, tokenizer));
  const same = others.every((pooled) => JSON.stringify(pooled) === JSON.stringify(first));
  const needsMask = [first, ...others].some(
    (pooled) => pooled === undefined || pooled.kind === 'afterPrefix',
  );
  return [
    ...(first === undefined || !same ? [] : [{ name: 'model', pooled: first }]),
    ...(needsMask || !same ? [{ name: 'model_pool_mask', pooled: { kind: 'input' as const } }] : []),
  ];
}

/** How a graph finds the pooled tokens of texts in the recipe's prompt; undefined where it cannot. */
function pooledByGraph(recipe: EmbeddingRecipe, tokenizer: TextTokenizer): PooledTokens | undefined {
  const { frame = bareFrame, pool } = promptParts(recipe);
  switch (pool) {
    case 'all':
    case 'last':
      return { kind: pool };
    case 'text':
    case 'lastText':
    case 'marked': {
      const tokens = constantPrefix(frame, tokenizer);
      const ends = appendsEos(recipe.pooling) || tokenizer.addEos;
      return tokens === undefined || ends ? undefined : { kind: 'afterPrefix', tokens };
    }
    default:
      return assertNever(pool);
  }
}

/**
 * Number of tokens before the text, special tokens included, where it is the same for every text: the frame has nothing behind the text,
 * and ends in an added token, which is cut out of the string before anything is merged. Elsewhere the first characters of a text can merge
 * with the frame's last ones.
 */
function constantPrefix(frame: PromptFrame, tokenizer: TextTokenizer): number | undefined {
  const { before, after, copies, parts } = frame;
  if (after !== '' || copies > 1 || parts.some(({ kind, pooled }) => pooled && kind !== 'text'))
    return undefined;
  const added = addedTokens(tokenizer);
  const last = added.filter(({ content }) => before.endsWith(content)).sort(byLength)[0];
  if (last === undefined || !last.exact) return undefined;
  // Another added token that begins in the frame could reach into the text.
  const reaches = added.some(({ content }) =>
    Array.from({ length: content.length - 1 }, (_, i) => content.slice(0, i + 1)).some((start) =>
      before.endsWith(start),
    ),
  );
  if (reaches) return undefined;
  const bos = tokenizer.addBos && tokenizer.bosTokenId !== undefined ? 1 : 0;
  return bos + tokenizer.encode(before).length;
}

interface AddedToken {
  readonly content: string;
  /** Matches its characters and nothing beside them. */
  readonly exact: boolean;
}

function addedTokens(tokenizer: TextTokenizer): AddedToken[] {
  const list = tokenizer.json['added_tokens'];
  if (!Array.isArray(list)) return [];
  return (list as Readonly<Record<string, unknown>>[]).map((token) => ({
    content: String(token['content']),
    exact: token['normalized'] !== true && token['rstrip'] !== true && token['single_word'] !== true,
  }));
}

function byLength(a: AddedToken, b: AddedToken): number {
  return b.content.length - a.content.length;
}

/** The pool mask of a text of `length` tokens as a graph finds it; undefined where it has to be told. */
export function maskOfGraph(pooled: PooledTokens, length: number): Uint8Array | undefined {
  switch (pooled.kind) {
    case 'all':
      return new Uint8Array(length).fill(1);
    case 'last':
      return new Uint8Array(length).fill(1, length - 1);
    case 'afterPrefix':
      return new Uint8Array(length).fill(1, pooled.tokens);
    case 'input':
      return undefined;
    default:
      return assertNever(pooled);
  }
}
