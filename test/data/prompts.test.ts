import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { prepareSentence } from '../../src/data/prompt-presets.js';
import { parsePrompt, preparer, promptPresets } from '../../src/data/prompts.js';
import { createTokenizer, type TextTokenizer, type TokenizerJson } from '../../src/data/tokenizer.js';

function golden(name: string): TextTokenizer {
  const path = new URL(`../golden/tokenizer/${name}.json`, import.meta.url);
  const { tokenizer, config } = JSON.parse(readFileSync(path, 'utf8')) as {
    tokenizer: TokenizerJson;
    config: TokenizerJson;
  };
  return createTokenizer(tokenizer, config);
}

const byteLevel = golden('byte-level-digits');
const llama = golden('sentencepiece');
const pooledText = (tokenizer: TextTokenizer, { ids, pool }: { ids: Int32Array; pool: Uint8Array }): string =>
  tokenizer.decode(ids.filter((_, i) => pool[i] === 1));

describe('frames', () => {
  it('are tokenised as one string', () => {
    const prepared = preparer({ tokenizer: byteLevel, prompt: 'prompt-eol', pool: 'last', maxTokens: 128 })(
      'A jockey riding a horse',
    );
    expect(prepared.ids).toEqual(
      byteLevel.encode('This sentence : "A jockey riding a horse." means in one word:"'),
    );
    expect(prepared.pool.lastIndexOf(1)).toBe(prepared.ids.length - 1);
    expect(prepared.pool.indexOf(1)).toBe(prepared.ids.length - 1);
  });

  it('pool the tokens of the text alone, all, or the last', () => {
    const prepare = (pool: 'text' | 'all' | 'last'): string =>
      pooledText(
        byteLevel,
        preparer({ tokenizer: byteLevel, prompt: 'Instruct: find it\nQuery: {text}', pool, maxTokens: 64 })(
          'the horse',
        ),
      );
    expect(prepare('text')).toBe(' the horse');
    expect(prepare('all')).toBe('Instruct: find it\nQuery: the horse');
    expect(prepare('last')).toBe(' horse');
  });

  it('put bos where the model expects it and eos where it is asked for; neither is text', () => {
    const options = { tokenizer: llama, maxTokens: 64, appendEos: true } as const;
    const bare = preparer({ ...options, pool: 'text' })('the horse');
    expect([bare.ids[0], bare.ids.at(-1)]).toEqual([1, 2]);
    expect(Array.from(bare.pool)).toEqual([0, ...Array<number>(bare.ids.length - 2).fill(1), 0]);
    expect(preparer({ ...options, pool: 'last' })('the horse').pool.indexOf(1)).toBe(bare.ids.length - 1);
    expect(preparer({ ...options, pool: 'all' })('the horse').pool.includes(0)).toBe(false);
  });

  it.each([
    [
      'no {text}',
      'This means',
      /unknown prompt.*got "This means", expected a frame with \{text\} once, or one of prompt-eol,/,
    ],
    ['{text} twice', '{text} and {text}', /holds \{text\} more than once/],
    ['a misspelt preset', 'promt-eol', /did you mean prompt-eol\?/],
    ["an object's property", 'constructor', /unknown prompt/],
  ])('%s is one sentence', (_, prompt, message) => {
    expect(() => parsePrompt(prompt)).toThrow(message);
  });

  it('an empty text is an error that names it', () => {
    const prepare = preparer({ tokenizer: byteLevel, prompt: 'prompt-eol', pool: 'text', maxTokens: 64 });
    expect(() => prepare('', 'sentences.txt:3')).toThrow(/^sentences\.txt:3: the text is empty/);
    expect(() => prepare(' \t ')).toThrow(/^the text is empty/);
  });

  it('a frame that leaves no room is refused before any text is met', () => {
    expect(() =>
      preparer({ tokenizer: byteLevel, prompt: 'prompt-eol', pool: 'last', maxTokens: 8 }),
    ).toThrow(/leaves no room for a text/);
  });

  it('eos without an eos token is one sentence', () => {
    const tokenizer = createTokenizer(byteLevel.json, { bos_token: '<|endoftext|>' });
    expect(() => preparer({ tokenizer, pool: 'last', maxTokens: 8, appendEos: true })).toThrow(
      /no eos token/,
    );
  });
});

describe('presets', () => {
  it.each(Object.entries(promptPresets))('%s holds {text} once and pools one token', (name, preset) => {
    expect(parsePrompt(name).preset).toBe(preset);
    const { ids, pool } = preparer({ tokenizer: byteLevel, prompt: name, pool: preset.pool, maxTokens: 512 })(
      'Is it "so"?',
    );
    const shown = preset.preparation === 'sentence' ? "Is it 'so'." : 'Is it "so"?';
    expect(byteLevel.decode(ids)).toBe(preset.frame.replace('{text}', shown));
    expect(pool.reduce((sum, bit) => sum + bit, 0)).toBe(1);
  });

  it.each([
    ['A man is riding', 'A man is riding.'],
    ['A man is riding.', 'A man is riding.'],
    ['Is he riding?', 'Is he riding.'],
    ['He rides!', 'He rides!'],
    ['He said "ride"', "He said 'ride'"],
    ['Weiter,', 'Weiter,.'],
  ])('prepareSentence %j', (text, prepared) => {
    expect(prepareSentence(text)).toBe(prepared);
  });
});

describe('truncation', () => {
  const words = fc
    .array(
      fc.constantFrom('horse', 'the', 'naïve', '日本語', '😀👍🏽', 'e\u0301', '2026', '"', '  ', 'riding.'),
      { minLength: 1, maxLength: 60 },
    )
    .map((parts) => parts.join(' '))
    .filter((text) => text.trim() !== '');
  const frames = fc.constantFrom(
    undefined,
    'This sentence : "{text}" means in one word:"',
    '{text} is',
    'Query: {text}',
    '({text})',
  );

  it.each([
    ['byte-level', byteLevel],
    ['sentencepiece', llama],
  ])('%s: cuts the text at a character, never the frame', (_, tokenizer) => {
    fc.assert(
      fc.property(
        words,
        frames,
        fc.integer({ min: 40, max: 70 }),
        fc.constantFrom('text', 'all', 'last'),
        (text, prompt, maxTokens, pool) => {
          const { ids, pool: mask } = preparer({
            tokenizer,
            ...(prompt === undefined ? {} : { prompt }),
            pool,
            maxTokens,
          })(text);
          expect(ids.length).toBeLessThanOrEqual(maxTokens);
          expect(mask.length).toBe(ids.length);
          expect(mask.includes(1)).toBe(true);
          const [before = '', after = ''] = (prompt ?? '{text}').split('{text}');
          const special = tokenizer.addBos ? 1 : 0;
          // The ids are those of some beginning of the text in the whole frame: found by decoding, checked by encoding again.
          const decoded = tokenizer.decode(ids.slice(special));
          expect(decoded.startsWith(before) && decoded.endsWith(after)).toBe(true);
          const kept = decoded.slice(before.length, decoded.length - after.length);
          expect(text.startsWith(kept) && kept.length > 0).toBe(true);
          expect(ids.slice(special)).toEqual(tokenizer.encode(before + kept + after));
          if (pool === 'text') expect(pooledText(tokenizer, { ids, pool: mask })).toContain(kept.trim());
          const whole = tokenizer.encode(before + text + after).length + special;
          if (whole <= maxTokens) expect(kept).toBe(text);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('keeps as much as fits', () => {
    const text = Array(300).fill('horse').join(' ');
    const { ids } = preparer({ tokenizer: byteLevel, prompt: 'prompt-eol', pool: 'text', maxTokens: 50 })(
      text,
    );
    expect(ids.length).toBeGreaterThanOrEqual(49);
  });
});
