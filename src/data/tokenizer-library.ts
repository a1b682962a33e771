import * as library from '@huggingface/tokenizers';

/*
 * `@huggingface/tokenizers` with types: its own declarations import without file extensions, so TypeScript sees nothing under NodeNext.
 * Only what is used here is declared.
 */

export interface LibraryNormalizer {
  normalize: (text: string) => string;
  readonly config: { readonly type?: unknown; readonly content?: unknown };
  /** The parts of a `Sequence`. */
  readonly normalizers?: readonly (LibraryNormalizer | null)[];
}

export interface LibraryModel {
  /** Tokens of words that the pre-tokenizer has split. */
  encode(words: readonly string[]): string[];
  readonly tokens_to_ids: ReadonlyMap<string, number>;
}

export interface LibraryTokenizer {
  encode(
    text: string,
    options: { add_special_tokens: boolean },
  ): { ids: (number | undefined)[]; tokens: string[] };
  decode(
    ids: readonly number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
  token_to_id(token: string): number | undefined;
  get_added_tokens_decoder(): ReadonlyMap<number, { readonly content: string }>;
  readonly normalizer: LibraryNormalizer | null;
  readonly model: LibraryModel;
}

interface Library {
  readonly Tokenizer: new (json: unknown, config: unknown) => LibraryTokenizer;
  readonly SequencePreTokenizer: new (config: unknown) => { pre_tokenize(text: string): string[] };
}

export const { Tokenizer, SequencePreTokenizer } = library as unknown as Library;
