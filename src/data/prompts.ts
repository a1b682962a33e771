import { UserError, userError } from '../shared/errors.js';
import type { TokenizedText } from './batch.js';
import { bareFrame, parsePrompt, type PromptFrame } from './prompt-frame.js';
import type { PoolScope } from './prompt-presets.js';
import type { PromptConfig } from './schema.js';
import type { TextTokenizer } from './tokenizer.js';

export interface PreparerOptions {
  readonly tokenizer: TextTokenizer;
  /** The bare text where missing. */
  readonly prompt?: PromptConfig;
  readonly pool: PoolScope;
  /** Longest tokenised text, frame and special tokens included. */
  readonly maxTokens: number;
  /** Puts the tokenizer's eos token behind the framed text. */
  readonly appendEos?: boolean;
  /** Special tokens behind all that. */
  readonly append?: readonly string[];
  /** What becomes of a text that is too long (default: its end is cut off). */
  readonly tooLong?: 'cut' | 'refuse';
}

/** A text of more tokens than the model takes, where it may not be cut. */
export class TextTooLongError extends UserError {}

/** Tokenises one text; `where` (e.g. `sentences.txt:12`) names it in errors. */
export type TextPreparer = (text: string, where?: string) => TokenizedText;

/**
 * Makes the function that turns a text into tokens and pool mask: the framed string is tokenised as a whole, as the model would read it,
 * and the tokens of its parts are found by their offsets. A token that straddles a pooled part and another counts as pooled.
 * Truncation cuts the text, every copy alike, at a character boundary and tokenises again; the frame is never cut.
 * @throws UserError where the prompt cannot be read, eos is missing, or the frame alone leaves no room for a text; the function itself where a
 * text is empty, or too long and `tooLong` refuses it
 */
export function preparer(options: PreparerOptions): TextPreparer {
  const { tokenizer, pool, maxTokens } = options;
  const frame = options.prompt === undefined ? bareFrame : parsePrompt(options.prompt);
  const bos = tokenizer.addBos && tokenizer.bosTokenId !== undefined ? [tokenizer.bosTokenId] : [];
  const eos = options.appendEos === true || tokenizer.addEos ? [eosOf(tokenizer)] : [];
  const behind = [...eos, ...(options.append ?? []).map((token) => idOf(token, tokenizer))];
  const room = maxTokens - bos.length - behind.length;
  const endToken = frame.parts.some(({ kind }) => kind === 'eos') ? tokenizer.decode([eosOf(tokenizer)]) : '';
  const layOut = (text: string): FramedString => framedString(frame, { text, endToken, pool });
  checkFrameFits({ tokenizer, framed: layOut('').string, room, maxTokens });

  return (text, where) => {
    if (text.trim() === '') throw emptyText(where);
    const framed = fit({
      tokenizer,
      layOut,
      room,
      text: frame.prepare(text),
      where,
      cuts: options.tooLong !== 'refuse',
      maxTokens,
      // Offsets are not needed where the text is bare, or where it does not matter which tokens are its own.
      scoped: pool !== 'all' && pool !== 'last' && frame.template !== '{text}',
    });
    const ids = Int32Array.from([...bos, ...framed.ids, ...behind]);
    return { ids, pool: poolMask({ pool, length: ids.length, framed, offset: bos.length, where }) };
  };
}

/** A prompt with a text in it, and where its parts lie: [start, end) in UTF-16 units. */
interface FramedString {
  readonly string: string;
  readonly copies: readonly Span[];
  readonly pooled: readonly Span[];
}

interface Span {
  readonly start: number;
  readonly end: number;
}

function framedString(
  frame: PromptFrame,
  { text, endToken, pool }: { readonly text: string; readonly endToken: string; readonly pool: PoolScope },
): FramedString {
  let string = '';
  const copies: Span[] = [];
  const marked: Span[] = [];
  for (const part of frame.parts) {
    const start = string.length;
    string += part.kind === 'text' ? text : part.kind === 'eos' ? endToken : part.text;
    const span = { start, end: string.length };
    if (part.kind === 'text') copies.push(span);
    if (part.pooled) marked.push(span);
  }
  return {
    string,
    copies,
    pooled: pool === 'marked' ? marked : pool === 'lastText' ? copies.slice(-1) : copies,
  };
}

interface FramedText {
  readonly ids: Int32Array;
  /** Ranges of `ids` that hold a pooled part (all, where that does not matter). */
  readonly pooled: readonly Span[];
}

interface FitOptions {
  readonly tokenizer: TextTokenizer;
  readonly layOut: (text: string) => FramedString;
  /** Tokens that frame and text may take together. */
  readonly room: number;
  readonly text: string;
  readonly where: string | undefined;
  /** Whether a text that is too long is cut; it is refused otherwise. */
  readonly cuts: boolean;
  /** What `room` is left of, for errors. */
  readonly maxTokens: number;
  /** Whether it matters which tokens are pooled. */
  readonly scoped: boolean;
}

/** Tokenises the framed text, cutting the text until it fits. Cut text can tokenise differently at its new end, hence the loop. */
function fit({ tokenizer, layOut, room, text, where, cuts, maxTokens, scoped }: FitOptions): FramedText {
  if (!scoped) {
    const ids = tokenizer.encode(layOut(text).string);
    if (ids.length <= room) return { ids, pooled: [{ start: 0, end: ids.length }] };
  }
  let kept = text;
  for (;;) {
    const { string, copies, pooled } = layOut(kept);
    const { ids, offsets } = tokenizer.encodeWithOffsets(string);
    const excess = ids.length - room;
    if (excess > 0 && !cuts) throw tooLong(excess, maxTokens, where);
    if (excess <= 0) return { ids, pooled: pooled.map((span) => tokensOf(offsets, span)) };
    const copy = copies[copies.length - 1] as Span;
    const { start: first, end } = tokensOf(offsets, copy);
    const lastKept = end - Math.ceil(excess / copies.length) - 1;
    kept = shorter(kept, lastKept < first ? 0 : (offsets[2 * lastKept + 1] ?? 0) - copy.start);
    if (kept === '') throw noRoom(room, where);
  }
}

/** The first `units` of a text, at least one character less than before, never half of a surrogate pair. */
function shorter(text: string, units: number): string {
  let end = Math.max(0, Math.min(units, text.length - 1));
  if (end > 0 && isLowSurrogate(text.charCodeAt(end)) && isHighSurrogate(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(0, end);
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}

/** Tokens that overlap a span of the framed string; offsets ascend, so they are neighbours. */
function tokensOf(offsets: Int32Array, { start, end }: Span): Span {
  const count = offsets.length / 2;
  let first = 0;
  while (first < count && (offsets[2 * first + 1] ?? 0) <= start) first++;
  let last = first;
  while (last < count && (offsets[2 * last] ?? 0) < end) last++;
  return { start: first, end: last };
}

interface PoolMaskOptions {
  readonly pool: PoolScope;
  readonly length: number;
  readonly framed: FramedText;
  /** Tokens before the framed ones (bos). */
  readonly offset: number;
  readonly where: string | undefined;
}

function poolMask({ pool, length, framed, offset, where }: PoolMaskOptions): Uint8Array {
  const mask = new Uint8Array(length);
  if (pool === 'all') mask.fill(1);
  else if (pool === 'last') mask[length - 1] = 1;
  else for (const { start, end } of framed.pooled) mask.fill(1, offset + start, offset + end);
  if (!mask.includes(1)) {
    throw userError({
      what: 'no token of the text is left to pool',
      ...(where === undefined ? {} : { where }),
    });
  }
  return mask;
}

function eosOf(tokenizer: TextTokenizer): number {
  if (tokenizer.eosTokenId !== undefined) return tokenizer.eosTokenId;
  throw userError({
    what: 'the tokenizer has no eos token to append',
    where: 'tokenizer_config.json',
    expected: 'a key eos_token',
  });
}

function idOf(token: string, tokenizer: TextTokenizer): number {
  const id = tokenizer.tokenId(token);
  if (id !== undefined) return id;
  throw userError({
    what: 'the tokenizer has no special token to append',
    where: 'tokenizer.json',
    got: token,
  });
}

function checkFrameFits({
  tokenizer,
  framed,
  room,
  maxTokens,
}: {
  readonly tokenizer: TextTokenizer;
  /** Without a text. */
  readonly framed: string;
  readonly room: number;
  readonly maxTokens: number;
}): void {
  const needed = tokenizer.encode(framed).length;
  if (needed < room) return;
  throw userError({
    what: 'the prompt leaves no room for a text',
    got: `${String(needed)} tokens of prompt`,
    expected: `fewer than maxTokens ${String(maxTokens)} with special tokens`,
    hint: 'raise maxTokens or shorten the prompt',
  });
}

function noRoom(room: number, where: string | undefined): Error {
  return userError({
    what: 'not one character of the text fits beside the prompt',
    ...(where === undefined ? {} : { where }),
    expected: `at most ${String(room)} tokens`,
    hint: 'raise maxTokens or shorten the prompt',
  });
}

function tooLong(excess: number, maxTokens: number, where: string | undefined): Error {
  const { message } = userError({
    what: 'the text is too long',
    ...(where === undefined ? {} : { where }),
    got: `${String(maxTokens + excess)} tokens with its prompt`,
    expected: `at most ${String(maxTokens)}`,
  });
  return new TextTooLongError(message);
}

function emptyText(where: string | undefined): Error {
  return userError({
    what: 'the text is empty',
    ...(where === undefined ? {} : { where }),
    expected: 'at least one character that is not a space',
  });
}
