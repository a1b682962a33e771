import { userError } from '../shared/errors.js';
import { isRecord, type TokenizerConfigJson, type TokenizerJson } from './tokenizer.js';

/** Both files of a tokenizer. */
export interface TokenizerPair {
  readonly json: TokenizerJson;
  readonly config: TokenizerConfigJson;
}

/** Special tokens that a tokenizer has: neighbouring ids from `first` on. */
export interface AddedTokens {
  readonly first: number;
  readonly count: number;
}

/**
 * The ids of special tokens of these names in a tokenizer that has them all, in this order, as `withAddedTokens` gives them; undefined where it
 * has none of them.
 * @throws UserError where it has some of the names, or has them as something else
 */
export function findAddedTokens(
  { json }: Pick<TokenizerPair, 'json'>,
  names: readonly string[],
): AddedTokens | undefined {
  const added = addedIds(json);
  const inVocabulary = vocabularyTest(json);
  const taken = names.filter((name) => added.has(name) || inVocabulary(name));
  if (taken.length === 0) return undefined;
  const first = added.get(names[0] ?? '');
  if (first !== undefined && names.every((name, i) => added.get(name) === first + i))
    return { first, count: names.length };
  throw userError({
    what: 'the tokenizer has tokens of these names already, and not as special tokens one after the other',
    where: 'pooling.tokens',
    got: taken.join(', '),
    expected: `none of ${names.join(', ')}, or all of them`,
  });
}

/**
 * A tokenizer with further special tokens. Their ids are the next ones, as Hugging Face's tokenizers count them whatever a file says: behind
 * the largest added token and the whole vocabulary.
 * @throws UserError where a name is taken, or the vocabulary leaves ids out, so that the next one is not the same everywhere
 */
export function withAddedTokens(
  tokenizer: TokenizerPair,
  names: readonly string[],
): { readonly tokenizer: TokenizerPair; readonly tokens: AddedTokens } {
  const { json, config } = tokenizer;
  if (findAddedTokens(tokenizer, names) !== undefined)
    throw userError({ what: 'the tokenizer has these tokens already', got: names.join(', ') });
  const { count, largest } = vocabularySize(json);
  const first = Math.max(Math.max(-1, ...addedIds(json).values()) + 1, count);
  if (first <= largest)
    throw userError({
      what: 'no token can be added to this tokenizer: its vocabulary leaves ids out',
      where: 'tokenizer.json',
      got: `${count} tokens with ids up to ${largest}`,
    });
  const added = names.map((content, i) => ({
    id: first + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const list = Array.isArray(json['added_tokens']) ? (json['added_tokens'] as unknown[]) : [];
  const decoder = config['added_tokens_decoder'];
  return {
    tokenizer: {
      json: { ...json, added_tokens: [...list, ...added] },
      // transformers 4 lists them here too.
      config: !isRecord(decoder)
        ? config
        : {
            ...config,
            added_tokens_decoder: {
              ...decoder,
              ...Object.fromEntries(added.map(({ id, ...token }) => [String(id), token])),
            },
          },
    },
    tokens: { first, count: names.length },
  };
}

/** Ids of `added_tokens` by content. */
function addedIds(json: TokenizerJson): Map<string, number> {
  const list: readonly unknown[] = Array.isArray(json['added_tokens']) ? json['added_tokens'] : [];
  return new Map(
    list.flatMap((token): [string, number][] => {
      if (!isRecord(token)) return [];
      const { content, id } = token;
      return typeof content === 'string' && typeof id === 'number' ? [[content, id]] : [];
    }),
  );
}

function vocabularyTest(json: TokenizerJson): (token: string) => boolean {
  const vocabulary = vocabularyOf(json);
  if (!Array.isArray(vocabulary)) return (token) => Object.hasOwn(vocabulary, token);
  // Unigram: [piece, score].
  const pieces = new Set<unknown>(
    vocabulary.map((entry: unknown) => (Array.isArray(entry) ? (entry[0] as unknown) : entry)),
  );
  return (token) => pieces.has(token);
}

function vocabularySize(json: TokenizerJson): { readonly count: number; readonly largest: number } {
  const vocabulary = vocabularyOf(json);
  if (Array.isArray(vocabulary)) return { count: vocabulary.length, largest: vocabulary.length - 1 };
  let count = 0;
  let largest = -1;
  for (const id of Object.values(vocabulary)) {
    count += 1;
    largest = Math.max(largest, Number(id));
  }
  return { count, largest };
}

function vocabularyOf(json: TokenizerJson): Readonly<Record<string, unknown>> | readonly unknown[] {
  const model = json['model'];
  const vocabulary = isRecord(model) ? model['vocab'] : undefined;
  return Array.isArray(vocabulary) || isRecord(vocabulary) ? vocabulary : [];
}
