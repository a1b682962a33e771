import { createHash } from 'node:crypto';
import { openScratchFile, createSpool, type ScratchFile, type Spool } from './spool.js';

/** Texts by number. An array is one; a long list lies on disk. */
export interface TextList extends Iterable<string> {
  readonly length: number;
  at(index: number): string | undefined;
}

/** Characters that are held in memory at most; a longer list goes to disk. */
export const HELD_CHARACTERS = 1 << 26;

/** Gathers different texts, in their order. */
export interface TextCollector {
  /** How many texts were added, equal ones once; an upper bound before `finish` where they lie on disk. */
  readonly length: number;
  /** False where the text is known to be there already. */
  add(text: string): boolean;
  /** The texts, equal ones once, at most `limit(count)` of them. Nothing can be added after it. */
  finish(choose: (count: number) => ((index: number) => boolean) | undefined): CollectedTexts;
}

export interface CollectedTexts {
  readonly texts: TextList;
  /** Equal texts that `add` could not see. */
  readonly duplicates: number;
  /** Different texts before the choice. */
  readonly different: number;
  /** Frees the disk; without it, the end of the process does. */
  close(): void;
}

/** `characters` in memory at most (default 64 Mi). The result does not depend on it. */
export function collectTexts({
  characters = HELD_CHARACTERS,
}: { readonly characters?: number } = {}): TextCollector {
  let held: Set<string> | undefined = new Set<string>();
  let heldCharacters = 0;
  let disk: { readonly spool: Spool; readonly hashes: ScratchFile } | undefined;
  const spill = (text: string): void => {
    if (disk === undefined) return;
    const bytes = Buffer.from(text, 'utf8');
    disk.spool.add(bytes);
    disk.hashes.append(createHash('sha256').update(bytes).digest().subarray(0, hashBytes));
  };
  return {
    get length() {
      return held?.size ?? disk?.spool.length ?? 0;
    },
    add(text) {
      if (held === undefined) {
        spill(text);
        return true;
      }
      if (held.has(text)) return false;
      held.add(text);
      heldCharacters += text.length;
      if (heldCharacters > characters) {
        disk = { spool: createSpool(), hashes: openScratchFile() };
        for (const one of held) spill(one);
        held = undefined;
      }
      return true;
    },
    finish(choose) {
      if (disk === undefined) {
        const all = [...(held ?? [])];
        const chosen = choose(all.length);
        const texts = chosen === undefined ? all : all.filter((_, index) => chosen(index));
        return { texts, duplicates: 0, different: all.length, close: () => undefined };
      }
      const { spool, hashes } = disk;
      const repeated = repeatedHashes(hashes);
      hashes.close();
      const all = spool.length;
      spool.keep((index) => !repeated.has(index));
      const different = spool.length;
      const chosen = choose(different);
      if (chosen !== undefined) spool.keep(chosen);
      return {
        texts: textsOf(spool),
        duplicates: all - different,
        different,
        close: () => spool.close(),
      };
    },
  };
}

function textsOf(spool: Spool): TextList {
  const at = (index: number): string | undefined => spool.at(index)?.toString('utf8');
  return {
    get length() {
      return spool.length;
    },
    at,
    *[Symbol.iterator]() {
      for (let index = 0; index < spool.length; index++) yield at(index) as string;
    },
  };
}

/** A set of numbers from 0 to n - 1, an eighth of a byte each. */
export function bitSet(n: number): { has(index: number): boolean; add(index: number): void } {
  const bits = new Uint8Array(Math.ceil(n / 8));
  return {
    has: (index) => ((bits[Math.floor(index / 8)] ?? 0) & (1 << (index % 8))) !== 0,
    add: (index) => {
      const byte = Math.floor(index / 8);
      bits[byte] = (bits[byte] ?? 0) | (1 << (index % 8));
    },
  };
}

/** Of a text's SHA-256: two different texts of 50 million share it with a chance of 1 in 15,000. */
const hashBytes = 8;
/** Hashes that one pass over the file looks at. */
const hashesPerPass = 1 << 21;

/** Numbers of the hashes that stand in the file before, found in as many passes as keep the memory small. */
function repeatedHashes(file: ScratchFile): { has(index: number): boolean } {
  const count = file.size / hashBytes;
  const repeated = bitSet(count);
  const passes = Math.ceil(count / hashesPerPass);
  // Twice as many places as a pass has hashes on average: it never fills.
  const places = hashesPerPass * 4;
  const high = new Uint32Array(places);
  const low = new Uint32Array(places);
  const block = new Uint32Array(1 << 16);
  for (let pass = 0; pass < passes; pass++) {
    high.fill(0);
    low.fill(0);
    for (let start = 0; start < file.size; start += block.byteLength) {
      const words = Math.min(block.length, (file.size - start) / 4);
      file.read(new Uint8Array(block.buffer, 0, words * 4), start);
      for (let word = 0; word < words; word += 2) {
        const a = block[word] as number;
        // Zero marks an empty place.
        const b = (block[word + 1] as number) || 1;
        if (a % passes !== pass) continue;
        let place = b % places;
        while (low[place] !== 0 && (low[place] !== b || high[place] !== a)) place = (place + 1) % places;
        if (low[place] !== 0) repeated.add(start / hashBytes + word / 2);
        high[place] = a;
        low[place] = b;
      }
    }
  }
  return repeated;
}
