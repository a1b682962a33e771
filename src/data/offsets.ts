import { fromByteLevel } from './byte-level.js';

/*
 * Where each token lies in the text it came from: rebuilt from the tokens themselves, because the tokenizer library has no offsets.
 * Text and tokens are compared as UTF-8 bytes, SentencePiece's `▁` counting as a space.
 */

/** What the alignment needs of a normalizer of `@huggingface/tokenizers`. */
export interface TextNormalizer {
  normalize(text: string): string;
}

export interface TokenSurface {
  /** The bytes that the token stands for, or undefined for the unknown token. */
  bytes(token: string): Uint8Array | undefined;
  /** Whether `▁` means a space (SentencePiece). */
  readonly metaspace: boolean;
}

const textEncoder = new TextEncoder();
const space = 0x20;
const metaspaces = /\u2581/g;

/** Tokens of a byte-level vocabulary (GPT-2's alphabet: one character per byte); `added` are the tokens that stand for themselves. */
export function byteLevelSurface(added: ReadonlySet<string>): TokenSurface {
  return cached(false, (token) => {
    if (added.has(token)) return textEncoder.encode(token);
    return fromByteLevel(token) ?? textEncoder.encode(token);
  });
}

/** Tokens of a SentencePiece-like or WordPiece vocabulary: `▁` is a space, `<0xE2>` a byte, the continuing prefix is dropped. */
export function characterSurface(options: {
  readonly added: ReadonlySet<string>;
  readonly unknown: string | undefined;
  readonly byteFallback: boolean;
  readonly continuingPrefix: string | undefined;
}): TokenSurface {
  const { added, unknown, byteFallback, continuingPrefix } = options;
  return cached(true, (token) => {
    if (token === unknown) return undefined;
    if (added.has(token)) return textEncoder.encode(token);
    const byte = byteFallback ? /^<0x([0-9A-F]{2})>$/.exec(token)?.[1] : undefined;
    if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
    const continues =
      continuingPrefix !== undefined && token.startsWith(continuingPrefix) && token !== continuingPrefix;
    return textEncoder.encode(
      (continues ? token.slice(continuingPrefix.length) : token).replace(metaspaces, ' '),
    );
  });
}

function cached(metaspace: boolean, bytes: (token: string) => Uint8Array | undefined): TokenSurface {
  const known = new Map<string, Uint8Array | undefined>();
  return {
    metaspace,
    bytes: (token) => {
      if (known.has(token)) return known.get(token);
      const made = bytes(token);
      known.set(token, made);
      return made;
    },
  };
}

export interface OffsetOptions {
  readonly surface: TokenSurface;
  /** What the tokenizer does to the characters of a text before it splits it, in order. */
  readonly normalizers: readonly TextNormalizer[];
  /** Whether it puts a space before every text, even before one that begins with a space (Llama 2's `Prepend`). */
  readonly prependsSpace: boolean;
}

/**
 * Offsets [n, 2] in UTF-16 units: token i covers `text.slice(start, end)`. A token that holds a part of a character covers the whole
 * character; a prepended space, which has no counterpart in the text, covers the character that it precedes (as in Python).
 */
export function tokenOffsets(text: string, tokens: readonly string[], options: OffsetOptions): Int32Array {
  const source = alignedSource(text, options);
  const { bytes, starts, ends } = source;
  const offsets = new Int32Array(tokens.length * 2);
  const surfaces = tokens.map((token) => options.surface.bytes(token));
  let position = 0;
  for (const [i, surface] of surfaces.entries()) {
    const { from, to } =
      surface === undefined
        ? {
            from: position,
            to: endOfUnknown(
              source,
              position,
              surfaces[i + 1] ?? (i + 1 < surfaces.length ? 'unknown' : 'end'),
            ),
          }
        : findSurface(bytes, surface, position);
    const prepended = to === from && surface?.[0] === space;
    offsets[2 * i] = starts[from] ?? text.length;
    offsets[2 * i + 1] =
      to > from ? (ends[to - 1] ?? 0) : ((prepended ? ends[from] : starts[from]) ?? text.length);
    position = to;
  }
  return offsets;
}

interface AlignedSource {
  /** UTF-8 of the normalised text. */
  readonly bytes: Uint8Array;
  /** Per byte: first and one-past-last UTF-16 unit, in the original text, of the character that holds the byte. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

/** Finds where `surface` continues at or after `position`: right here, here without its prepended space, or further on (characters that were dropped). */
function findSurface(bytes: Uint8Array, surface: Uint8Array, position: number): { from: number; to: number } {
  if (matchesAt(bytes, surface, position)) return { from: position, to: position + surface.length };
  if (surface[0] === space && matchesAt(bytes, surface.subarray(1), position))
    return { from: position, to: position + surface.length - 1 };
  const later = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(surface, position);
  return later < 0 || surface.length === 0
    ? { from: position, to: position }
    : { from: later, to: later + surface.length };
}

function matchesAt(bytes: Uint8Array, surface: Uint8Array, position: number): boolean {
  if (position + surface.length > bytes.length) return false;
  for (let i = 0; i < surface.length; i++) if (bytes[position + i] !== surface[i]) return false;
  return true;
}

/** An unknown token reaches to where the next known one begins, at least one character; of two unknown ones in a row the first takes one character. */
function endOfUnknown(source: AlignedSource, position: number, next: Uint8Array | 'unknown' | 'end'): number {
  const { bytes, ends } = source;
  if (position >= bytes.length || next === 'end') return bytes.length;
  let one = position + 1;
  while (one < bytes.length && ends[one] === ends[position]) one++;
  if (next === 'unknown' || next.length === 0) return one;
  const found = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(next, one);
  return found < 0 ? one : found;
}

function alignedSource(text: string, { normalizers, surface, prependsSpace }: OffsetOptions): AlignedSource {
  const normalised = apply(text, normalizers);
  // eslint-disable-next-line no-control-regex
  if (normalised === text && !prependsSpace && /^[\x00-\x7f]*$/.test(text)) return asciiSource(text);
  const pieces =
    normalised === text
      ? [{ text, start: 0, exact: true, end: text.length }]
      : alignedPieces(text, normalised, normalizers);
  const starts: number[] = [];
  const ends: number[] = [];
  const plain: string[] = [];
  if (prependsSpace && text !== '') {
    plain.push(' ');
    starts.push(0);
    ends.push((text.codePointAt(0) ?? 0) > 0xffff ? 2 : 1);
  }
  for (const piece of pieces) {
    let unit = piece.start;
    for (const character of piece.text) {
      // `▁` in a text looks like a space to SentencePiece: one byte instead of three, on both sides of the comparison.
      const spoken = surface.metaspace && character === '\u2581' ? ' ' : character;
      plain.push(spoken);
      const length = utf8Length(spoken);
      const end = piece.exact ? unit + character.length : piece.end;
      for (let i = 0; i < length; i++) {
        starts.push(piece.exact ? unit : piece.start);
        ends.push(end);
      }
      unit += character.length;
    }
  }
  return {
    bytes: textEncoder.encode(plain.join('')),
    starts: Int32Array.from(starts),
    ends: Int32Array.from(ends),
  };
}

function asciiSource(text: string): AlignedSource {
  const starts = new Int32Array(text.length);
  const ends = new Int32Array(text.length);
  for (let i = 0; i < text.length; i++) {
    starts[i] = i;
    ends[i] = i + 1;
  }
  return { bytes: textEncoder.encode(text), starts, ends };
}

function utf8Length(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x80) return 1;
  if (code < 0x800) return 2;
  return code < 0x10000 ? 3 : 4;
}

function apply(text: string, normalizers: readonly TextNormalizer[]): string {
  return normalizers.reduce<string>((result, normalizer) => normalizer.normalize(result), text);
}

interface Piece {
  /** Normalised. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  /** Whether the piece is unchanged, so that its characters map one to one. */
  readonly exact: boolean;
}

/** Cuts the text into the smallest parts that can be normalised one by one: characters with their marks, else words, else the whole. */
function alignedPieces(
  text: string,
  normalised: string,
  normalizers: readonly TextNormalizer[],
): readonly Piece[] {
  for (const pattern of [/\P{M}\p{M}*|\p{M}+/gu, /\s*\S+|\s+/gu]) {
    const pieces: Piece[] = [];
    for (const match of text.matchAll(pattern)) {
      const piece = apply(match[0], normalizers);
      pieces.push({
        text: piece,
        start: match.index,
        end: match.index + match[0].length,
        exact: piece === match[0],
      });
    }
    if (pieces.map((piece) => piece.text).join('') === normalised) return pieces;
  }
  return [{ text: normalised, start: 0, end: text.length, exact: false }];
}
