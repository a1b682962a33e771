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
  const eos = joinDocuments && tokenizer.eosTokenId !== undefined ? [tokenizer.eosTokenId] : [];
  const chunk = (ids: readonly number[]): TokenizedText => {
    const whole = Int32Array.from([...bos, ...ids]);
    return { ids: whole, pool: new Uint8Array(whole.length).fill(1) };
  };
  const worthIt = (ids: readonly number[]): boolean => ids.length > 0 && ids.length + bos.length >= minTokens;

  let pending: number[] = [];
  for await (const { text, endsDocument } of blocksOfText(lines)) {
    for (const id of tokenizer.encode(text)) pending.push(id);
    if (endsDocument) pending.push(...eos);
    let start = 0;
    for (; pending.length - start >= room; start += room) yield chunk(pending.slice(start, start + room));
    pending = pending.slice(start);
    if (!endsDocument || joinDocuments) continue;
    if (worthIt(pending)) yield chunk(pending);
    pending = [];
  }
  if (worthIt(pending)) yield chunk(pending);
}

/** Joins the texts of a document by spaces, in blocks; a later block of the same document begins with its space. */
async function* blocksOfText(
  lines: AsyncIterable<string> | Iterable<string>,
): AsyncGenerator<{ readonly text: string; readonly endsDocument: boolean }> {
  let text = '';
  let begun = false;
  for await (const line of lines) {
    if (line === '') {
      if (begun || text !== '') yield { text, endsDocument: true };
      [text, begun] = ['', false];
    } else {
      text += begun || text !== '' ? ` ${line}` : line;
      if (text.length < blockCharacters) continue;
      yield { text, endsDocument: false };
      [text, begun] = ['', true];
    }
  }
  if (begun || text !== '') yield { text, endsDocument: true };
}
