import { describe, expect, it } from 'vitest';
import { findAddedTokens, withAddedTokens } from '../../src/data/added-tokens.js';
import { createTokenizer } from '../../src/data/tokenizer.js';

const special = (id: number, content: string) => ({ id, content, special: true, normalized: false });
const bpe = (vocab: Record<string, number>, added: readonly object[]) => ({
  added_tokens: added,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true, trim_offsets: true },
  decoder: { type: 'ByteLevel', add_prefix_space: false, use_regex: true, trim_offsets: true },
  model: { type: 'BPE', vocab, merges: [] },
});
const names = ['<|emb1|>', '<|emb2|>'];

describe('special tokens that are added to a tokenizer', () => {
  it('get the next ids, are one token each and leave the other ids as they were', () => {
    const config = { eos_token: '</s>', added_tokens_decoder: { '2': { content: '</s>', special: true } } };
    const before = { json: bpe({ a: 0, b: 1, '</s>': 2 }, [special(2, '</s>')]), config };
    const { tokenizer, tokens } = withAddedTokens(before, names);
    expect(tokens).toEqual({ first: 3, count: 2 });
    expect(findAddedTokens(tokenizer, names)).toEqual(tokens);
    const opened = createTokenizer(tokenizer.json, tokenizer.config);
    expect(opened.size).toBe(5);
    expect([...opened.encode('ab<|emb2|>a</s>')]).toEqual([0, 1, 4, 0, 2]);
    expect(opened.decode([3, 4])).toBe('<|emb1|><|emb2|>');
    expect(Object.keys(tokenizer.config['added_tokens_decoder'] as object)).toEqual(['2', '3', '4']);
  });

  it('are counted from the largest added token, as the tokenizers library counts, and in a list of pieces', () => {
    const added = { json: bpe({ a: 0, b: 1 }, [special(7, '</s>')]), config: {} };
    expect(withAddedTokens(added, names).tokens.first).toBe(8);
    const unigram = { json: { model: { type: 'Unigram', vocab: [['a', 0], ['b', -1]] } }, config: {} }; // prettier-ignore
    expect(withAddedTokens(unigram, names).tokens.first).toBe(2);
  });

  it('are refused where a name is taken or ids are left out', () => {
    const some = { json: bpe({ a: 0 }, [special(1, '<|emb1|>')]), config: {} };
    expect(() => withAddedTokens(some, names)).toThrow(/tokens of these names already.*got <\|emb1\|>/);
    const plain = { json: bpe({ a: 0, '<|emb2|>': 1 }, []), config: {} };
    expect(() => findAddedTokens(plain, names)).toThrow(/got <\|emb2\|>, expected none of/);
    const turned = { json: bpe({ a: 0 }, [special(2, '<|emb1|>'), special(1, '<|emb2|>')]), config: {} };
    expect(() => findAddedTokens(turned, names)).toThrow(/one after the other/);
    const holes = { json: bpe({ a: 0, b: 5 }, []), config: {} };
    expect(() => withAddedTokens(holes, names)).toThrow(/leaves ids out: got 2 tokens with ids up to 5/);
  });
});
