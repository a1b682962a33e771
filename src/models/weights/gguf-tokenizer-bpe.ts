import { shown, userError } from '../../shared/errors.js';
import type { TokenizerParts } from './gguf-tokenizer.js';
import type { GgufVocabulary } from './gguf-vocabulary.js';
import type { JsonObject } from './types.js';

interface Splitting {
  readonly normalizer?: JsonObject;
  readonly preTokenizer: JsonObject;
  /** A piece that is a token as a whole skips the merges. */
  readonly ignoreMerges?: boolean;
  readonly addBos?: boolean;
}

const byteLevel = (useRegex: boolean): JsonObject => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const split = (regex: string): JsonObject => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
});
const sequence = (...pretokenizers: JsonObject[]): JsonObject => ({ type: 'Sequence', pretokenizers });

const gpt2Regex = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/** Llama 3 takes up to three digits at once, Qwen 2 one. */
const llama3Regex = (digits: string): string =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const gpt2: Splitting = { preTokenizer: byteLevel(true) };
const digitsFirst: Splitting = {
  preTokenizer: sequence({ type: 'Digits', individual_digits: true }, byteLevel(true)),
};
const llama3: Splitting = {
  preTokenizer: sequence(split(llama3Regex('\\p{N}{1,3}')), byteLevel(false)),
  ignoreMerges: true,
  addBos: true,
};
/** As Llama 3 splits, without its other ways. */
const threeDigits: Splitting = {
  preTokenizer: sequence(split(llama3Regex('\\p{N}{1,3}')), byteLevel(false)),
};
const qwen2: Splitting = {
  normalizer: { type: 'NFC' },
  preTokenizer: sequence(split(llama3Regex('\\p{N}')), byteLevel(false)),
};

/** How a text is split before the merges, by `tokenizer.ggml.pre` (llama.cpp, src/llama-vocab.cpp). */
const splittings: Readonly<Record<string, Splitting>> = {
  // What llama.cpp does where the key is missing or says default.
  default: {
    preTokenizer: sequence(
      split('[\\p{P}\\$\\+<=>\\^~\\|]+'),
      split(gpt2Regex),
      split('\\p{N}+'),
      split('[0-9][0-9][0-9]'),
      byteLevel(false),
    ),
  },
  'gpt-2': gpt2,
  'phi-2': gpt2,
  smollm: digitsFirst,
  starcoder: digitsFirst,
  refact: digitsFirst,
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  // SmolLM3 and OLMo 2.
  'smaug-bpe': threeDigits,
  dbrx: threeDigits,
  // OLMoE and Pythia: GPT-NeoX's.
  olmo: { normalizer: { type: 'NFC' }, preTokenizer: byteLevel(true) },
  qwen2,
};

/** Byte-level BPE (`tokenizer.ggml.model` gpt2). @throws UserError for an unknown splitting and for merges that do not fit the tokens. */
export function bytePairParts(vocabulary: GgufVocabulary): TokenizerParts {
  const { metadata, path } = vocabulary;
  const pre = metadata.text('tokenizer.ggml.pre') ?? 'default';
  const splitting = Object.hasOwn(splittings, pre) ? splittings[pre] : undefined;
  if (splitting === undefined) {
    throw userError({
      what: 'this tokenizer.ggml.pre is not supported',
      where: path,
      got: pre,
      expected: Object.keys(splittings).join(', '),
    });
  }
  const merges = metadata.required('tokenizer.ggml.merges', metadata.texts('tokenizer.ggml.merges'));
  return {
    normalizer: splitting.normalizer ?? null,
    preTokenizer: splitting.preTokenizer,
    decoder: byteLevel(true),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: splitting.ignoreMerges ?? false,
      vocab: Object.fromEntries(vocabulary.ids),
      merges: mergePairs(vocabulary, merges),
    },
    addBosByDefault: splitting.addBos ?? false,
  };
}

function mergePairs(vocabulary: GgufVocabulary, merges: readonly string[]): [string, string][] {
  const seen = new Set<string>();
  return merges.map((merge, index) => {
    const space = merge.indexOf(' ', 1);
    const left = merge.slice(0, space);
    const right = merge.slice(space + 1);
    const wrong =
      space < 1 || right === '' || right.includes(' ')
        ? 'is not two tokens'
        : seen.has(merge)
          ? 'appears twice'
          : [left, right, left + right].every((token) => vocabulary.ids.has(token))
            ? undefined
            : 'has a token that the vocabulary lacks';
    if (wrong !== undefined) {
      throw userError({ what: `merge ${index} ${shown(merge)} ${wrong}`, where: vocabulary.path });
    }
    seen.add(merge);
    return [left, right];
  });
}
