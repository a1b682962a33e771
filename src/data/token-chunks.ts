import { internalError } from '../shared/errors.js';
import type { TokenizedText } from './batch.js';
import type { TextTokenizer } from './tokenizer.js';

export interface TokenChunksOptions {
  readonly tokenizer: TextTokenizer;
  /** Longest chunk, with the bos token where the model expects one. */
  readonly maxTokens: number;
  /** Shorter chunks (ends of documents) are left out; 2, because a position needs one before it to be predicted from. */
  readonly minTokens?: number;
  /** Lets documents run on within a chunk, eos between them, as LLM2Vec does; otherwise a chunk holds one document's text only. */
  readonly joinDocuments?: boolean;
}

/** Characters that are tokenised at once: long enough for speed, short enough for any file. */
const blockCharacters = 1 << 14;

/**
 * Cuts documents into chunks of at most `maxTokens` tokens, for objectives over running text (MNTP, causal LM). `lines` are texts, an empty
 * one ends a document; texts of a document are joined by a space. Streams: only one chunk and one block of text are held.
 */
export async function* tokenChunks(
  lines: AsyncIterable<string> | Iterable<string>,
  options: TokenChunksOptions,
): AsyncGenerator<TokenizedText> {
  const { tokenizer, minTokens = 2, joinDocuments = false } = options;
  const bos = tokenizer.addBos && tokenizer.bosTokenId !== undefined ? [tokenizer.bosTokenId] : [];
  const room = options.maxTokens - bos.length;
  if (room < 1) throw internalError(`chunks of ${String(options.maxTokens)} tokens`);
  let pending: number[] = [];
  let block = '';
  let begun = false;

  const tokenise = (): void => {
    if (block === '') return;
    // A later block of the same document goes on after a space, as if it had been tokenised in one piece.
    for (const id of tokenizer.encode(begun ? ` ${block}` : block)) pending.push(id);
    begun = true;
    block = '';
  };
  const chunk = (ids: readonly number[]): TokenizedText => {
    const whole = Int32Array.from([...bos, ...ids]);
    return { ids: whole, pool: new Uint8Array(whole.length).fill(1) };
  };
  const full = function* (): Generator<TokenizedText> {
    let start = 0;
    for (; pending.length - start >= room; start += room) yield chunk(pending.slice(start, start + room));
    pending = pending.slice(start);
  };
  const rest = function* (): Generator<TokenizedText> {
    if (pending.length > 0 && pending.length + bos.length >= minTokens) yield chunk(pending);
    pending = [];
  };

  for await (const line of lines) {
    if (line !== '') {
      block += block === '' ? line : ` ${line}`;
      if (block.length < blockCharacters) continue;
      tokenise();
      yield* full();
    } else {
      tokenise();
      if (begun && joinDocuments && tokenizer.eosTokenId !== undefined) pending.push(tokenizer.eosTokenId);
      yield* full();
      if (!joinDocuments) yield* rest();
      begun = false;
    }
  }
  tokenise();
  yield* full();
  yield* rest();
}
