import { userError } from '../shared/errors.js';
import type { TrainedTokenizer } from './train-bpe.js';

export interface TrainWordsOptions {
  /** Tokens at most: the unknown one and the most frequent words. */
  readonly vocabularySize: number;
  /** A word met less often is unknown. */
  readonly minimumCount: number;
  readonly lowercase: boolean;
  /** Recorded as `model_max_length`, in tokens. */
  readonly maximumLength: number;
}

/** Id 0: every word that the vocabulary does not have, and what is no word. */
export const unknownWord = '[UNK]';

/** A word: letters, marks and digits, with apostrophes inside. What stands between words is a token of its own, which is never in the vocabulary. */
const word = String.raw`[\p{L}\p{M}\p{N}]+(?:['\u2019][\p{L}\p{M}\p{N}]+)*`;
const between = String.raw`[^\s\p{L}\p{M}\p{N}]+`;
const longestWord = 100;

/**
 * A tokenizer whose tokens are words: the most frequent ones first, among equals in the order of their letters.
 * As tokenizer.json it is WordPiece without pieces: a word is found whole or not at all.
 * @throws UserError where no word is frequent enough
 */
export function trainWords(texts: Iterable<string>, options: TrainWordsOptions): TrainedTokenizer {
  const counts = new Map<string, number>();
  const pattern = new RegExp(word, 'gu');
  for (const text of texts) {
    for (const found of (options.lowercase ? text.toLowerCase() : text).match(pattern) ?? [])
      if (found.length <= longestWord) counts.set(found, (counts.get(found) ?? 0) + 1);
  }
  const frequent = [...counts].filter(([, count]) => count >= options.minimumCount);
  if (frequent.length === 0)
    throw userError({
      what: 'too little text for a vocabulary of words',
      got: `${counts.size} words, none of them ${options.minimumCount} times`,
      hint: 'more text, or a smaller minimumCount',
    });
  frequent.sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const words = frequent.slice(0, options.vocabularySize - 1).map(([found]) => found);
  return {
    json: tokenizerJson([unknownWord, ...words], options.lowercase),
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      model_max_length: options.maximumLength,
      unk_token: unknownWord,
      pad_token: unknownWord,
      clean_up_tokenization_spaces: false,
      padding_side: 'right',
      added_tokens_decoder: { '0': { content: unknownWord, ...unknownFlags } },
    },
  };
}

const unknownFlags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

function tokenizerJson(vocabulary: readonly string[], lowercase: boolean): Record<string, unknown> {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [{ id: 0, content: unknownWord, ...unknownFlags }],
    normalizer: lowercase ? { type: 'Lowercase' } : null,
    pre_tokenizer: {
      type: 'Split',
      pattern: { Regex: `${word}|${between}` },
      behavior: 'Removed',
      invert: true,
    },
    post_processor: null,
    decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
    model: {
      type: 'WordPiece',
      unk_token: unknownWord,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: longestWord,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
    },
  };
}
