import { describe, expect, it } from 'vitest';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { promptParts, recipePreparer } from '../../src/pooling/embedding-model.js';
import { poolingSchema } from '../../src/pooling/schema.js';
import { tinyDecoder } from '../training/tiny.js';

describe('poolings that read the last pooled token', () => {
  it.each([
    ['eos', { type: 'eos' }, true],
    ['latent attention at the end token', { type: 'latentAttention', aggregate: 'eos' }, true],
    ['last', { type: 'last' }, false],
    ['LMORT at the last token', { type: 'lmort', layer: [1, 2], aggregate: 'last' }, false],
  ])('%s reads the same place behind an instruction and without one', async (_, given, appended) => {
    const { tokenizer: files } = await tinyDecoder();
    const tokenizer = createTokenizer(files.json, files.config);
    const recipe = {
      attention: 'bidirectional',
      window: 'keep',
      pooling: poolingSchema.parse(given),
      maxTokens: 64,
    } as const;
    for (const prompt of [undefined, '{text}', 'the cat: {text}', 'the cat: {text} then']) {
      const prepare = recipePreparer({ ...recipe, ...(prompt === undefined ? {} : { prompt }) }, tokenizer);
      const { ids, pool } = prepare('a dog');
      expect(pool.lastIndexOf(1), prompt).toBe(ids.length - 1);
      if (appended) expect(ids.at(-1), prompt).toBe(tokenizer.eosTokenId);
    }
    // What the prompt itself says goes before it.
    expect(promptParts({ ...recipe, prompt: { frame: 'the cat: {text}', pool: 'text' } }).pool).toBe('text');
  });
});
