import { userError } from '../shared/errors.js';
import { mergePairs } from './bpe-merges.js';

export interface TrainBpeOptions {
  /** Tokens in all: the end token, 256 bytes and the merges. */
  readonly vocabularySize: number;
  /** A pair met less often is not merged. */
  readonly minimumCount?: number;
  /** Recorded as `model_max_length`, in tokens. */
  readonly maximumLength: number;
}

/** Contents of tokenizer.json and tokenizer_config.json, ready for `JSON.stringify`. */
export interface TrainedTokenizer {
  readonly json: Readonly<Record<string, unknown>>;
  readonly config: Readonly<Record<string, unknown>>;
}

export const endOfText = '<|endoftext|>';

/** GPT-2's split into words, the space before a word belonging to it; `Digits` has taken each digit out before. */
const wordPattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/**
 * Trains byte-level BPE (Sennrich et al. 2016, on bytes as in GPT-2): the most frequent pair of neighbouring tokens becomes a token, until the
 * vocabulary is full. Ids: the end token, the bytes in the order of their letters, the merges in the order they were made.
 * @throws UserError if the vocabulary cannot hold the bytes, or the texts are too small to fill it.
 */
export function trainBpe(texts: Iterable<string>, options: TrainBpeOptions): TrainedTokenizer {
  const letters = byteLetters();
  const alphabet = [...letters].sort();
  const vocabulary = [endOfText, ...alphabet];
  const merges = options.vocabularySize - vocabulary.length;
  if (merges < 0 || !Number.isInteger(merges) || options.vocabularySize > 65536) {
    throw userError({
      what: 'wrong vocabulary size',
      got: String(options.vocabularySize),
      expected: `an integer from ${vocabulary.length} to 65536`,
    });
  }
  const idOfLetter = new Map(vocabulary.map((token, id) => [token, id]));
  const idOfByte = Uint16Array.from(letters, (letter) => idOfLetter.get(letter) ?? 0);

  const words: Uint16Array[] = [];
  const counts: number[] = [];
  const encoder = new TextEncoder();
  for (const [word, count] of countWords(texts)) {
    words.push(Uint16Array.from(encoder.encode(word), (byte) => idOfByte[byte] ?? 0));
    counts.push(count);
  }
  const pairs = mergePairs({
    words,
    counts,
    firstNewId: vocabulary.length,
    merges,
    minimumCount: options.minimumCount ?? 2,
  });
  if (pairs.length < merges) {
    throw userError({
      what: 'too little text to train the tokenizer',
      got: `${vocabulary.length + pairs.length} tokens`,
      expected: `${options.vocabularySize}`,
    });
  }
  const mergedWords: [string, string][] = [];
  for (const [left, right] of pairs) {
    const pair: [string, string] = [vocabulary[left] ?? '', vocabulary[right] ?? ''];
    mergedWords.push(pair);
    vocabulary.push(pair.join(''));
  }
  return { json: tokenizerJson(vocabulary, mergedWords), config: tokenizerConfig(options.maximumLength) };
}

/** How often each piece occurs after the pre-tokenizer, in the order of first occurrence. */
function countWords(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const piece of text.match(/\p{N}|\P{N}+/gu) ?? []) {
      for (const word of piece.match(wordPattern) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  }
  return counts;
}

/** GPT-2's printable letter for each byte: visible Latin-1 characters stand for themselves, the others for U+0100 and up. */
export function byteLetters(): string[] {
  const visible = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(visible(byte) ? byte : next++));
}

function tokenizerJson(
  vocabulary: readonly string[],
  merges: readonly [string, string][],
): Record<string, unknown> {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [{ id: 0, content: endOfText, ...endTokenFlags }],
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Digits', individual_digits: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      // One string each: what every release of every reader takes. A letter for a byte is never a space.
      merges: merges.map((pair) => pair.join(' ')),
    },
  };
}

const endTokenFlags = {
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
};

function tokenizerConfig(maximumLength: number): Record<string, unknown> {
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: maximumLength,
    bos_token: endOfText,
    eos_token: endOfText,
    pad_token: endOfText,
    unk_token: endOfText,
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
    padding_side: 'right',
    added_tokens_decoder: { '0': { content: endOfText, ...endTokenFlags } },
  };
}
