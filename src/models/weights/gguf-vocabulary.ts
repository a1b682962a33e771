import { shown, userError } from '../../shared/errors.js';
import { metadataReader, type MetadataReader } from './gguf-metadata.js';
import type { GgufFile } from './gguf.js';

/** The tokens of a GGUF file: ids by text, and `types` by id (llama.cpp's llama_token_type). */
export interface GgufVocabulary {
  readonly path: string;
  readonly metadata: MetadataReader;
  readonly tokens: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
  readonly types: readonly number[];
}

/** llama.cpp's llama_token_type. */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Reads and checks the tokens. @throws UserError where they are missing, repeated or past the vocabulary. */
export function readVocabulary(file: GgufFile, vocabularySize: number): GgufVocabulary {
  const metadata = metadataReader(file);
  const tokens = metadata.required('tokenizer.ggml.tokens', metadata.texts('tokenizer.ggml.tokens'));
  if (tokens.length === 0 || tokens.length > vocabularySize) {
    throw userError({
      what: 'the tokenizer does not fit the model',
      where: file.path,
      got: `${tokens.length} tokens`,
      expected: `at most ${vocabularySize}, the rows of the embedding`,
    });
  }
  const types = metadata.numbers('tokenizer.ggml.token_type') ?? tokens.map(() => tokenTypes.normal);
  if (types.length !== tokens.length) {
    throw userError({
      what: 'tokenizer.ggml.token_type does not fit',
      where: file.path,
      got: `${types.length} types`,
      expected: `${tokens.length}, one per token`,
    });
  }
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const other = ids.get(token);
    if (other !== undefined) {
      throw userError({
        what: `token ${shown(token)} appears twice`,
        where: file.path,
        got: `ids ${other} and ${id}`,
      });
    }
    ids.set(token, id);
  }
  return { path: file.path, metadata, tokens, ids, types };
}
