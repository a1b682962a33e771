import { nearest, userError } from '../shared/errors.js';
import type { TokenizedText } from './batch.js';
import { prepareSentence, promptPresets, type PromptPreset } from './prompt-presets.js';
import type { TextTokenizer } from './tokenizer.js';

export { promptPresets, type PromptPreset, type PromptPresetName } from './prompt-presets.js';

/** A frame around a text: `before` + text + `after`, tokenised as one string. */
export interface PromptFrame {
  readonly before: string;
  readonly after: string;
  readonly prepare: (text: string) => string;
  /** Set where the frame is one of ours: its defaults for layer and pooling. */
  readonly preset?: PromptPreset;
}

/** Which tokens are pooled: those of the text alone, all of them (bos, frame and eos too), or the last one. */
export type PoolScope = 'text' | 'all' | 'last';

export interface PreparerOptions {
  readonly tokenizer: TextTokenizer;
  /** A preset's name or a frame of one's own that holds `{text}` once; the bare text where missing. */
  readonly prompt?: string;
  readonly pool: PoolScope;
  /** Longest tokenised text, frame and special tokens included. */
  readonly maxTokens: number;
  /** Puts the tokenizer's eos token behind the framed text. */
  readonly appendEos?: boolean;
}

/** Tokenises one text; `where` (e.g. `sentences.txt:12`) names it in errors. */
export type TextPreparer = (text: string, where?: string) => TokenizedText;

const slot = '{text}';

/**
 * Reads a prompt: the name of a preset, or a frame that holds `{text}` exactly once.
 * @throws UserError
 */
export function parsePrompt(prompt: string): PromptFrame {
  const preset: PromptPreset | undefined = isPreset(prompt) ? promptPresets[prompt] : undefined;
  const parts = (preset?.frame ?? prompt).split(slot);
  const [before, after] = parts;
  if (parts.length === 2 && before !== undefined && after !== undefined) {
    const prepare = preset?.preparation === 'sentence' ? prepareSentence : (text: string): string => text;
    return { before, after, prepare, ...(preset === undefined ? {} : { preset }) };
  }
  const names = Object.keys(promptPresets);
  const near = nearest(prompt, names);
  throw userError({
    what:
      parts.length > 2
        ? `a prompt holds ${slot} more than once`
        : `unknown prompt: neither a preset nor a frame with ${slot}`,
    got: JSON.stringify(prompt),
    expected: `a frame with ${slot} once, or one of ${names.join(', ')}`,
    ...(near === undefined || parts.length > 2 ? {} : { hint: `did you mean ${near}?` }),
  });
}

function isPreset(name: string): name is keyof typeof promptPresets {
  return Object.hasOwn(promptPresets, name);
}

/**
 * Makes the function that turns a text into tokens and pool mask: the framed string is tokenised as a whole, as the model would read it,
 * and the text's own tokens are found by their offsets. A token that straddles text and frame counts as the text's.
 * Truncation cuts the text at a character boundary and tokenises again; the frame is never cut.
 * @throws UserError where the prompt cannot be read, eos is missing, or the frame alone leaves no room for a text
 */
export function preparer(options: PreparerOptions): TextPreparer {
  const { tokenizer, pool, maxTokens } = options;
  const frame: PromptFrame =
    options.prompt === undefined
      ? { before: '', after: '', prepare: (text) => text }
      : parsePrompt(options.prompt);
  const bos = tokenizer.addBos && tokenizer.bosTokenId !== undefined ? [tokenizer.bosTokenId] : [];
  const eos = options.appendEos === true ? [eosOf(tokenizer)] : [];
  const room = maxTokens - bos.length - eos.length;
  checkFrameFits({ tokenizer, frame, room, maxTokens });

  return (text, where) => {
    if (text.trim() === '') throw emptyText(where);
    const framed = fit({ tokenizer, frame, room, text: frame.prepare(text), where, scoped: pool === 'text' });
    const ids = Int32Array.from([...bos, ...framed.ids, ...eos]);
    return { ids, pool: poolMask({ pool, length: ids.length, framed, offset: bos.length, where }) };
  };
}

interface FramedText {
  readonly ids: Int32Array;
  /** First and one-past-last index, in `ids`, of the tokens that hold a part of the text (all, where that does not matter). */
  readonly first: number;
  readonly end: number;
}

interface FitOptions {
  readonly tokenizer: TextTokenizer;
  readonly frame: PromptFrame;
  /** Tokens that frame and text may take together. */
  readonly room: number;
  readonly text: string;
  readonly where: string | undefined;
  /** Whether it matters which tokens are the text's own. */
  readonly scoped: boolean;
}

/** Tokenises the framed text, cutting the text until it fits. Cut text can tokenise differently at its new end, hence the loop. */
function fit({ tokenizer, frame, room, text, where, scoped }: FitOptions): FramedText {
  if (!scoped || frame.before + frame.after === '') {
    // Offsets are not needed where the text is bare, or where it does not matter which tokens are its own.
    const ids = tokenizer.encode(frame.before + text + frame.after);
    if (ids.length <= room) return { ids, first: 0, end: ids.length };
  }
  let kept = text;
  for (;;) {
    const { ids, offsets } = tokenizer.encodeWithOffsets(frame.before + kept + frame.after);
    const start = frame.before.length;
    const { first, end } = tokensOfText(offsets, start, start + kept.length);
    const excess = ids.length - room;
    if (excess <= 0) return { ids, first, end };
    const lastKept = end - excess - 1;
    const cutByTokens = lastKept < first ? 0 : (offsets[2 * lastKept + 1] ?? 0) - start;
    kept = shorter(kept, cutByTokens);
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

/** Tokens that overlap [start, end) of the framed string; offsets ascend, so they are neighbours. */
function tokensOfText(offsets: Int32Array, start: number, end: number): { first: number; end: number } {
  const count = offsets.length / 2;
  let first = 0;
  while (first < count && (offsets[2 * first + 1] ?? 0) <= start) first++;
  let last = first;
  while (last < count && (offsets[2 * last] ?? 0) < end) last++;
  return { first, end: last };
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
  else mask.fill(1, offset + framed.first, offset + framed.end);
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

function checkFrameFits({
  tokenizer,
  frame,
  room,
  maxTokens,
}: Pick<FitOptions, 'tokenizer' | 'frame' | 'room'> & { maxTokens: number }): void {
  const needed = tokenizer.encode(frame.before + frame.after).length;
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

function emptyText(where: string | undefined): Error {
  return userError({
    what: 'the text is empty',
    ...(where === undefined ? {} : { where }),
    expected: 'at least one character that is not a space',
  });
}
