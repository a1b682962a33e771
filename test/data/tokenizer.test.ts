import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkTokenizerFits,
  createTokenizer,
  type TextTokenizer,
  type TokenizerJson,
} from '../../src/data/tokenizer.js';

interface Golden {
  readonly tokenizer: TokenizerJson;
  readonly config: Readonly<Record<string, unknown>>;
  readonly lines: readonly { text: string; ids: number[]; offsets: [number, number][] }[];
}

/** Made by test/golden/tokenizer/make.py with Python's `tokenizers`. */
const names = ['byte-level-digits', 'byte-level-nfc', 'sentencepiece', 'metaspace'] as const;
const goldens = names.map((name) => {
  const golden = JSON.parse(
    readFileSync(new URL(`../golden/tokenizer/${name}.json`, import.meta.url), 'utf8'),
  ) as Golden;
  return { name, golden, tokenizer: createTokenizer(golden.tokenizer, golden.config) };
});
const byteLevel = goldens[0]?.tokenizer as TextTokenizer;

/** UTF-16 offset of each code point of the text, and of its end. */
function unitOffsets(text: string): number[] {
  const units = [0];
  for (const character of text) units.push((units.at(-1) ?? 0) + character.length);
  return units;
}

describe.each(goldens)('$name against Python', ({ name, golden, tokenizer }) => {
  it.each(golden.lines)('ids and offsets of $text', ({ text, ids, offsets }) => {
    const units = unitOffsets(text);
    const encoded = tokenizer.encodeWithOffsets(text);
    expect(Array.from(encoded.ids)).toEqual(ids);
    expect(Array.from(tokenizer.encode(text))).toEqual(ids);
    const expected = offsets.map(([start, end]) => text.slice(units[start], units[end]));
    const covered = offsets.map((_, i) => text.slice(encoded.offsets[2 * i], encoded.offsets[2 * i + 1]));
    // Python lets a composed character cover only the first of the characters it was composed from; ours covers them all.
    const rests = covered.map((part, i) =>
      part.startsWith(expected[i] ?? '') ? part.slice(expected[i]?.length) : part,
    );
    expect(rests.filter((rest) => !(name.endsWith('nfc') ? /^\p{M}*$/u : /^$/).test(rest))).toEqual([]);
    expect(Array.from(encoded.offsets).filter((_, i) => i % 2 === 0)).toEqual(
      offsets.map(([start]) => units[start]),
    );
  });
});

describe('offsets', () => {
  it.each(goldens)('$name: ascending, inside the text, every character covered', ({ name, tokenizer }) => {
    const characters = fc.string({
      unit: fc.oneof(
        fc.constantFrom(' ', 'a', 'the', 'e\u0301', '7', '\n'),
        fc.string({ unit: 'grapheme', maxLength: 1, minLength: 1 }),
      ),
    });
    fc.assert(
      fc.property(characters, (text) => {
        const { ids, offsets } = tokenizer.encodeWithOffsets(text);
        expect(offsets.length).toBe(ids.length * 2);
        let reached = 0;
        for (let i = 0; i < ids.length; i++) {
          const start = offsets[2 * i] ?? -1;
          const end = offsets[2 * i + 1] ?? -1;
          expect(start).toBeLessThanOrEqual(end);
          expect(start).toBeLessThanOrEqual(reached);
          reached = Math.max(reached, end);
        }
        expect(reached, name).toBe(text.length);
      }),
      { numRuns: 200 },
    );
  });

  it('byte-level text comes back from its ids', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        (text) => byteLevel.decode(byteLevel.encode(text)) === text,
      ),
    );
  });

  it('a lone surrogate is encoded as U+FFFD and keeps its place', () => {
    const { offsets } = byteLevel.encodeWithOffsets('a\ud800b');
    expect(byteLevel.decode(byteLevel.encode('a\ud800b'))).toBe('a\ufffdb');
    expect(offsets.at(-1)).toBe(3);
  });
});

describe('special tokens', () => {
  it('bos is expected where the post-processor adds it, and not where the config says no', () => {
    const expected = Object.fromEntries(goldens.map(({ name, tokenizer }) => [name, tokenizer.addBos]));
    expect(expected).toEqual({
      'byte-level-digits': false,
      'byte-level-nfc': false,
      sentencepiece: true,
      metaspace: true,
    });
    const llama = goldens[2]?.tokenizer;
    expect([llama?.bosTokenId, llama?.eosTokenId]).toEqual([1, 2]);
  });
});

describe('a tokenizer that cannot be used is one sentence', () => {
  const good = goldens[0]?.golden as Golden;
  const model = good.tokenizer['model'] as Record<string, unknown>;
  it.each([
    ['no model', {}, /tokenizer\.json: the tokenizer has no model/],
    ['no vocabulary', { model: { type: 'BPE' } }, /has no vocabulary/],
    [
      'a text as id',
      { ...good.tokenizer, model: { ...model, vocab: { a: 'x' } } },
      /token "a" has no usable id: got "x"/,
    ],
    [
      'a huge id',
      { ...good.tokenizer, model: { ...model, vocab: { a: 1e15 } } },
      /token "a" has no usable id/,
    ],
    ['an unknown part', { ...good.tokenizer, pre_tokenizer: { type: 'Astrology' } }, /Astrology/],
    [
      'merges missing',
      { ...good.tokenizer, model: { type: 'BPE', vocab: { a: 0 } } },
      /cannot use this tokenizer/,
    ],
    [
      'added token without content',
      { ...good.tokenizer, added_tokens: [{ id: 3 }] },
      /an added token has no content/,
    ],
  ])('%s', (_, json, message) => {
    expect(() => createTokenizer(json, {})).toThrow(message);
    expect(() => createTokenizer(json, {})).toThrow(expect.objectContaining({ name: 'UserError' }));
  });

  it('bos outside the vocabulary', () => {
    expect(() => createTokenizer(good.tokenizer, { bos_token: '<nowhere>' })).toThrow(
      /bos_token.*"<nowhere>"/,
    );
  });

  it('ids past the model', () => {
    expect(() => checkTokenizerFits(byteLevel, byteLevel.size)).not.toThrow();
    expect(() => checkTokenizerFits(byteLevel, byteLevel.size - 1)).toThrow(
      /does not fit the model: got token ids up to \d+, expected ids below/,
    );
  });
});
