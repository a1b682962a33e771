import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { mergePairs } from '../../src/data/bpe-merges.js';
import { createTokenizer, type TextTokenizer } from '../../src/data/tokenizer.js';
import { byteLetters, endOfText, trainBpe, type TrainedTokenizer } from '../../src/data/train-bpe.js';
import { embeddedTexts } from '../../src/data/wordnet.js';

/** The same greedy choice, counted anew for every merge. */
function slowMerges(words: readonly number[][], counts: readonly number[], merges: number): number[][] {
  let current = words.map((word) => [...word]);
  const made: number[][] = [];
  for (let id = 256; made.length < merges; id++) {
    const totals = new Map<string, number>();
    current.forEach((word, w) =>
      word.slice(1).forEach((right, i) => {
        const key = `${word[i]} ${right}`;
        totals.set(key, (totals.get(key) ?? 0) + counts[w]!);
      }),
    );
    const ranked = [...totals].map(([key, total]) => ({ pair: key.split(' ').map(Number), total }));
    ranked.sort((a, b) => b.total - a.total || a.pair[0]! - b.pair[0]! || a.pair[1]! - b.pair[1]!);
    const best = ranked[0];
    if (best === undefined || best.total < 2) break;
    made.push(best.pair);
    current = current.map((word) => {
      const out: number[] = [];
      for (let i = 0; i < word.length; i++) {
        const found = word[i] === best.pair[0] && word[i + 1] === best.pair[1];
        out.push(found ? id : word[i]!);
        if (found) i += 1;
      }
      return out;
    });
  }
  return made;
}

describe('mergePairs', () => {
  it('makes the merges that counting anew would make', () => {
    const word = fc.array(fc.integer({ min: 97, max: 100 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(fc.array(fc.tuple(word, fc.integer({ min: 1, max: 9 })), { maxLength: 12 }), (data) => {
        const words = data.map(([letters]) => letters);
        const counts = data.map(([, count]) => count);
        const fast = mergePairs({
          words: words.map((letters) => Uint16Array.from(letters)),
          counts,
          firstNewId: 256,
          merges: 40,
          minimumCount: 2,
        });
        expect(fast).toEqual(slowMerges(words, counts, 40));
      }),
    );
  });
});

describe('trainBpe', () => {
  let texts: string[];
  let trained: TrainedTokenizer;
  let tokenizer: TextTokenizer;
  beforeAll(async () => {
    texts = (await embeddedTexts()).filter((_, i) => i % 20 === 0);
    trained = trainBpe(texts, { vocabularySize: 2000, maximumLength: 512 });
    tokenizer = createTokenizer(trained.json, trained.config);
  });

  it('fills the vocabulary, ids without gaps, the end token first', () => {
    const { vocab } = trained.json['model'] as { vocab: Record<string, number> };
    expect(Object.values(vocab).sort((a, b) => a - b)).toEqual(Array.from({ length: 2000 }, (_, i) => i));
    expect(vocab[endOfText]).toBe(0);
  });

  it('is deterministic', () => {
    const again = trainBpe(texts, { vocabularySize: 2000, maximumLength: 512 });
    expect(JSON.stringify(again)).toBe(JSON.stringify(trained));
  });

  it('shortens English to fewer than a third of its letters', () => {
    const sample = texts.slice(0, 500);
    const tokens = sample.reduce((sum, text) => sum + tokenizer.encode(text).length, 0);
    expect(tokens).toBeLessThan(sample.join('').length / 3);
  });

  it('gives back every text in any script', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'binary', minLength: 1 }), fc.constantFrom(...texts)),
        (text) => {
          expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('has a token for each digit, for the mask letter and for the end', () => {
    expect(tokenizer.size).toBe(2000);
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.addBos]).toEqual([0, 0, false]);
    expect(tokenizer.tokenId('_')).toBeGreaterThan(0);
    const digits = Array.from(tokenizer.encode('1905'), (id) => tokenizer.decode([id]));
    expect(digits).toEqual(['1', '9', '0', '5']);
    expect(Array.from(tokenizer.encode(endOfText))).toEqual([0]);
  });

  it('says what is wrong', () => {
    expect(() => trainBpe(texts, { vocabularySize: 256, maximumLength: 8 })).toThrow(
      /vocabulary size: got 256/,
    );
    expect(() => trainBpe(['a b'], { vocabularySize: 300, maximumLength: 8 })).toThrow(/too little text/);
  });
});

it('has 256 different printable letters for the bytes', () => {
  const letters = byteLetters();
  expect(new Set(letters).size).toBe(256);
  expect([letters[0x20], letters[0x0a], letters[0x41]]).toEqual(['Ġ', 'Ċ', 'A']);
});
