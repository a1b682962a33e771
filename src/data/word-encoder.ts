import { toByteLevel } from './byte-level.js';
import { SequencePreTokenizer, type LibraryTokenizer } from './tokenizer-library.js';

/** Tokens with their ids; an id is missing where the vocabulary has no such token. */
export interface Encoded {
  readonly ids: readonly (number | undefined)[];
  readonly tokens: readonly string[];
}

/** Tokenises a text that holds no added token. */
export type WordEncoder = (text: string) => Encoded;

/** Words remembered; a corpus has a few ten thousand frequent ones. */
const cacheSize = 1 << 16;
/** GPT-2's splitting rule with Unicode's white space, as in Python (JavaScript's `\s` counts U+FEFF and not U+0085). */
const words =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/**
 * A quick way through byte-level BPE: words are split off as raw text and their tokens remembered, so that the library maps bytes and merges
 * pairs only for words it has not seen. Undefined where the tokenizer is of another kind.
 */
export function wordEncoder(tokenizer: LibraryTokenizer, preTokenizer: unknown): WordEncoder | undefined {
  const parts = partsOf(preTokenizer);
  const last = parts.at(-1);
  const model = tokenizer.model;
  if (last?.['type'] !== 'ByteLevel' || last['add_prefix_space'] === true) return undefined;
  const useRegex = last['use_regex'] !== false;
  const before = new SequencePreTokenizer({ type: 'Sequence', pretokenizers: parts.slice(0, -1) });
  const remembered = new Map<string, Encoded>();
  const encodeWord = (word: string): Encoded => {
    const known = remembered.get(word);
    if (known !== undefined) return known;
    const tokens = model.encode([toByteLevel(word)]);
    const made = { tokens, ids: tokens.map((token) => model.tokens_to_ids.get(token)) };
    if (remembered.size >= cacheSize) remembered.clear();
    if (word.length <= 64) remembered.set(word, made);
    return made;
  };
  return (text) => {
    const ids: (number | undefined)[] = [];
    const tokens: string[] = [];
    for (const piece of parts.length === 1 ? [text] : before.pre_tokenize(text)) {
      for (const word of useRegex ? (piece.match(words) ?? []) : [piece]) {
        const encoded = encodeWord(word);
        ids.push(...encoded.ids);
        tokens.push(...encoded.tokens);
      }
    }
    return { ids, tokens };
  };
}

/** The pre-tokenizers in order, sequences flattened. */
function partsOf(part: unknown): readonly Readonly<Record<string, unknown>>[] {
  if (typeof part !== 'object' || part === null) return [];
  const record = part as Readonly<Record<string, unknown>>;
  return record['type'] === 'Sequence' && Array.isArray(record['pretokenizers'])
    ? record['pretokenizers'].flatMap(partsOf)
    : [record];
}
