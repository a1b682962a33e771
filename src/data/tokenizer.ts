import { UserError, shown, userError } from '../shared/errors.js';
import {
  byteLevelSurface,
  characterSurface,
  tokenOffsets,
  type TextNormalizer,
  type TokenSurface,
} from './offsets.js';
import { Tokenizer, type LibraryNormalizer, type LibraryTokenizer } from './tokenizer-library.js';
import { unicodeForms, unicodeNormalForm } from './unicode-normal-form.js';
import { wordEncoder, type Encoded } from './word-encoder.js';

/** The content of a `tokenizer.json`, unchecked. */
export type TokenizerJson = Readonly<Record<string, unknown>>;
/** The content of a `tokenizer_config.json`, unchecked. */
export type TokenizerConfigJson = Readonly<Record<string, unknown>>;

/**
 * Text to token ids and back. Special tokens (bos, eos) are never added here: that is the prompt's business (`prompts.ts`). An encoder's
 * [CLS] and [SEP] are its bos and eos.
 */
export interface TextTokenizer {
  /** Token ids [n] of the text; special tokens written in the text are recognised. */
  encode(text: string): Int32Array;
  /** As `encode`, with `offsets` [n, 2]: token i covers `text.slice(offsets[2i], offsets[2i + 1])` (UTF-16 units). */
  encodeWithOffsets(text: string): { readonly ids: Int32Array; readonly offsets: Int32Array };
  decode(ids: ArrayLike<number>): string;
  tokenId(token: string): number | undefined;
  /** Largest id + 1. */
  readonly size: number;
  readonly bosTokenId?: number;
  readonly eosTokenId?: number;
  /** Whether the model expects its bos token before every text. */
  readonly addBos: boolean;
  /** Whether the model expects its eos token behind every text: encoders do. */
  readonly addEos: boolean;
  readonly json: TokenizerJson;
  readonly config: TokenizerConfigJson;
}

/** Above this an id is surely damaged: no vocabulary has more than a few hundred thousand tokens. */
const largestPossibleId = 1 << 24;

/**
 * Wraps `@huggingface/tokenizers`, adding offsets and checks.
 * @throws UserError in one sentence where `json` is not a usable `tokenizer.json`.
 */
export function createTokenizer(
  json: TokenizerJson,
  config: TokenizerConfigJson,
  where = 'tokenizer.json',
): TextTokenizer {
  const vocabulary = checkVocabulary(json, where);
  const tokenizer = openTokenizer(json, config, where);
  const offsetOptions = {
    surface: surfaceOf(json, tokenizer),
    ...normalization(tokenizer.normalizer),
  };
  const around = guarded(() => classAndSeparator(tokenizer, config), where);
  const bosTokenId = around?.first ?? specialTokenId('bos_token', config, tokenizer, where);
  const eosTokenId = around?.last ?? specialTokenId('eos_token', config, tokenizer, where);
  const encodeAny = textEncoder(tokenizer, withUnicodeDigits(json));
  const encode = (text: string): { ids: Int32Array; tokens: readonly string[] } => {
    const { ids, tokens } = guarded(() => encodeAny(wellFormed(text)), where);
    return { ids: Int32Array.from(ids.map((id, i) => id ?? unknownToken(tokens[i], where))), tokens };
  };
  return {
    encode: (text) => encode(text).ids,
    encodeWithOffsets: (text) => {
      const { ids, tokens } = encode(text);
      return { ids, offsets: guarded(() => tokenOffsets(wellFormed(text), tokens, offsetOptions), where) };
    },
    decode: (ids) =>
      ids.length === 0
        ? ''
        : guarded(
            () =>
              tokenizer.decode(Array.from(ids), {
                skip_special_tokens: false,
                clean_up_tokenization_spaces: false,
              }),
            where,
          ),
    tokenId: (token) => tokenizer.token_to_id(token),
    size: vocabulary.size,
    ...(bosTokenId === undefined ? {} : { bosTokenId }),
    ...(eosTokenId === undefined ? {} : { eosTokenId }),
    addBos: around !== undefined || guarded(() => expectsBos(tokenizer, config, bosTokenId), where),
    addEos: around !== undefined,
    json,
    config,
  };
}

/** A damaged tokenizer.json shows itself at the first text that meets the damage: that is no bug of ours. */
export function guarded<T>(use: () => T, where: string): T {
  try {
    return use();
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw userError({
      what: 'the tokenizer cannot be used on a text: it is damaged or of an unknown kind',
      where,
      got: error instanceof Error ? error.message : String(error),
    });
  }
}

/**
 * Checks that every id of the tokenizer has a row in a model of `vocabularySize` tokens (a model may have more rows than its tokenizer uses).
 * @throws UserError
 */
export function checkTokenizerFits(
  tokenizer: TextTokenizer,
  vocabularySize: number,
  where = 'tokenizer.json',
): void {
  if (tokenizer.size <= vocabularySize) return;
  throw userError({
    what: 'the tokenizer does not fit the model',
    where,
    got: `token ids up to ${String(tokenizer.size - 1)}`,
    expected: `ids below the model's vocabulary size ${String(vocabularySize)}`,
  });
}

function openTokenizer(json: TokenizerJson, config: TokenizerConfigJson, where: string): LibraryTokenizer {
  const absent = { added_tokens: [], normalizer: null, post_processor: null, decoder: null };
  const complete = { ...absent, ...json, pre_tokenizer: withUnicodeDigits(json) };
  // The library applies its own clean-up and lower-casing from the config; ids must come from tokenizer.json alone, as in Python.
  const quiet = { ...config, remove_space: false, do_lowercase_and_remove_accent: false };
  try {
    const tokenizer = new Tokenizer(complete, quiet);
    normaliseAsPython(tokenizer.normalizer);
    return tokenizer;
  } catch (error) {
    throw userError({
      what: `cannot use this tokenizer: ${error instanceof Error ? error.message : String(error)}`,
      where,
      expected: 'a tokenizer.json as written by the Hugging Face tokenizers library',
    });
  }
}

/** The library takes JavaScript's normal forms, whose tables are newer than those of Python's `tokenizers`. */
function normaliseAsPython(normalizer: LibraryNormalizer | null): void {
  for (const part of flatten(normalizer)) {
    const form = unicodeForms.find((name) => name === part.config.type);
    if (form !== undefined) part.normalize = (text) => unicodeNormalForm(text, form);
  }
}

/** The pre-tokenizer, with `Split` for `Digits`: the library's `Digits` knows ASCII digits only, Python's all of Unicode category N. */
function withUnicodeDigits(json: TokenizerJson): unknown {
  const replaced = (part: unknown): unknown => {
    if (!isRecord(part)) return part ?? null;
    if (part['type'] === 'Sequence' && Array.isArray(part['pretokenizers'])) {
      return { ...part, pretokenizers: part['pretokenizers'].map(replaced) };
    }
    if (part['type'] !== 'Digits') return part;
    const regex = part['individual_digits'] === true ? '\\p{N}' : '\\p{N}+';
    return { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false };
  };
  return replaced(json['pre_tokenizer']);
}

/** Token ids and tokens of a text: the quick way where there is one and the text holds no added token, else the library's. */
function textEncoder(tokenizer: LibraryTokenizer, preTokenizer: unknown): (text: string) => Encoded {
  const whole = (text: string): Encoded => tokenizer.encode(text, { add_special_tokens: false });
  const quick = wordEncoder(tokenizer, preTokenizer);
  if (quick === undefined) return whole;
  const added = [...tokenizer.get_added_tokens_decoder().values()].map((token) => token.content);
  const normalizer = tokenizer.normalizer;
  const contents =
    normalizer === null ? added : [...added, ...added.map((content) => normalizer.normalize(content))];
  const holdsAdded = contents.length === 0 ? undefined : new RegExp(contents.map(escapeForRegExp).join('|'));
  return (text) => {
    if (holdsAdded?.test(text) === true) return whole(text);
    const normalised = normalizer === null ? text : normalizer.normalize(text);
    return normalised !== text && holdsAdded?.test(normalised) === true ? whole(text) : quick(normalised);
  };
}

function escapeForRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Lone surrogates have no UTF-8 form: they become U+FFFD before anything is compared. */
function wellFormed(text: string): string {
  return /[\uD800-\uDFFF]/.test(text) ? text.replace(loneSurrogate, '\uFFFD') : text;
}
const loneSurrogate = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

function checkVocabulary(json: TokenizerJson, where: string): { size: number } {
  if (!isRecord(json)) throw userError({ what: 'the tokenizer is not a JSON object', where });
  const model = json['model'];
  if (!isRecord(model))
    throw userError({ what: 'the tokenizer has no model', where, expected: 'an object "model"' });
  const vocabulary = model['vocab'];
  let size = 0;
  const count = (token: string, id: unknown): void => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= largestPossibleId) {
      throw userError({
        what: `token ${shown(token)} has no usable id`,
        where,
        got: id === undefined ? 'nothing' : shown(id),
        expected: 'a whole number',
      });
    }
    size = Math.max(size, id + 1);
  };
  if (Array.isArray(vocabulary)) {
    size = vocabulary.length;
  } else if (isRecord(vocabulary)) {
    for (const [token, id] of Object.entries(vocabulary)) count(token, id);
  } else {
    throw userError({
      what: 'the tokenizer has no vocabulary',
      where,
      expected: 'an object or a list "model.vocab"',
    });
  }
  const added = json['added_tokens'] ?? [];
  if (!Array.isArray(added))
    throw userError({ what: 'the added tokens are not a list', where, expected: 'a list "added_tokens"' });
  for (const token of added) {
    if (!isRecord(token) || typeof token['content'] !== 'string' || token['content'] === '') {
      throw userError({
        what: 'an added token has no content',
        where,
        got: shown(token),
      });
    }
    count(token['content'], token['id']);
  }
  if (size === 0) throw userError({ what: 'the vocabulary is empty', where });
  return { size };
}

function surfaceOf(json: TokenizerJson, tokenizer: LibraryTokenizer): TokenSurface {
  const added = new Set([...tokenizer.get_added_tokens_decoder().values()].map((token) => token.content));
  if (mentionsType(json['pre_tokenizer'], 'ByteLevel') || mentionsType(json['decoder'], 'ByteLevel'))
    return byteLevelSurface(added);
  const model = isRecord(json['model']) ? json['model'] : {};
  const unknown = typeof model['unk_token'] === 'string' ? model['unk_token'] : unigramUnknown(model);
  const prefix = model['continuing_subword_prefix'];
  return characterSurface({
    added,
    unknown,
    byteFallback: model['byte_fallback'] === true,
    continuingPrefix: typeof prefix === 'string' && prefix !== '' ? prefix : undefined,
  });
}

function unigramUnknown(model: Readonly<Record<string, unknown>>): string | undefined {
  const { unk_id: id, vocab } = model;
  if (typeof id !== 'number' || !Array.isArray(vocab)) return undefined;
  const entry: unknown = vocab[id];
  return Array.isArray(entry) && typeof entry[0] === 'string' ? entry[0] : undefined;
}

function mentionsType(part: unknown, type: string): boolean {
  if (Array.isArray(part)) return part.some((each) => mentionsType(each, type));
  if (!isRecord(part)) return false;
  return (
    part['type'] === type || mentionsType(part['pretokenizers'], type) || mentionsType(part['decoders'], type)
  );
}

/** The normalizers that change characters; prepended and replaced spaces are understood by the alignment itself. */
function normalization(normalizer: LibraryNormalizer | null): {
  normalizers: readonly TextNormalizer[];
  prependsSpace: boolean;
} {
  const all = flatten(normalizer);
  const spaces = all.filter(
    ({ config }) => config.type === 'Prepend' || (config.type === 'Replace' && config.content === '\u2581'),
  );
  return {
    normalizers: all.filter((each) => !spaces.includes(each)),
    prependsSpace: spaces.some(({ config }) => config.type === 'Prepend'),
  };
}

function flatten(normalizer: LibraryNormalizer | null): readonly LibraryNormalizer[] {
  if (normalizer === null) return [];
  return normalizer.normalizers === undefined ? [normalizer] : normalizer.normalizers.flatMap(flatten);
}

function specialTokenId(
  key: 'bos_token' | 'eos_token',
  config: TokenizerConfigJson,
  tokenizer: LibraryTokenizer,
  where: string,
): number | undefined {
  const value = config[key];
  const content = isRecord(value) ? value['content'] : value;
  if (content === undefined || content === null) return undefined;
  const id = typeof content === 'string' ? tokenizer.token_to_id(content) : undefined;
  if (id === undefined) {
    throw userError({
      what: `${key} of tokenizer_config.json is not in the vocabulary`,
      where,
      got: shown(content),
    });
  }
  return id;
}

/** [CLS] and [SEP] where the tokenizer has both and its post-processor puts them around every text: so do those of encoders. */
function classAndSeparator(
  tokenizer: LibraryTokenizer,
  config: TokenizerConfigJson,
): { readonly first: number; readonly last: number } | undefined {
  const [first, last] = ['cls_token', 'sep_token'].map((key) => {
    const value = config[key];
    const content = isRecord(value) ? value['content'] : value;
    return typeof content === 'string' ? tokenizer.token_to_id(content) : undefined;
  });
  if (first === undefined || last === undefined) return undefined;
  // What a pooling puts behind every text stands behind [SEP].
  const { ids } = tokenizer.encode('', { add_special_tokens: true });
  return ids[0] === first && ids[1] === last ? { first, last } : undefined;
}

/** `add_bos_token` decides where it is given; otherwise whether the tokenizer's post-processor puts bos first. */
function expectsBos(
  tokenizer: LibraryTokenizer,
  config: TokenizerConfigJson,
  bosTokenId: number | undefined,
): boolean {
  if (bosTokenId === undefined) return false;
  const stated = config['add_bos_token'];
  if (typeof stated === 'boolean') return stated;
  return tokenizer.encode('a', { add_special_tokens: true }).ids[0] === bosTokenId;
}

function unknownToken(token: string | undefined, where: string): never {
  throw userError({
    what: `the tokenizer made the token ${shown(token)} that is not in its vocabulary and has no unknown token`,
    where,
  });
}

/** A JSON object. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
