import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { exportGolden } from '../golden/special-tokens/export.js';
import { largestDifference, temporaryFolders } from './models.js';

const temporary = temporaryFolders();
const golden = JSON.parse(
  await readFile(new URL('../golden/special-tokens/openers.json', import.meta.url), 'utf8'),
) as {
  readonly texts: readonly string[];
  readonly vectors: Readonly<
    Record<string, Partial<Record<'last' | 'mean', readonly (readonly number[])[]>>>
  >;
};

describe('an exported folder with special tokens is what other tools made of it, a text that is too long among them', () => {
  it.each(['last', 'mean'] as const)('%s', async (aggregate) => {
    const output = join(await temporary(), 'embedder');
    await exportGolden(output, aggregate);
    const embedder = await Embedder.open(output);
    const { data } = await embedder.encode(golden.texts);
    await embedder.dispose();
    const tools = Object.entries(golden.vectors).filter(([, vectors]) => vectors[aggregate] !== undefined);
    expect(tools).toHaveLength(aggregate === 'last' ? 2 : 1);
    for (const [tool, vectors] of tools)
      expect(largestDifference(data, vectors[aggregate]!.flat()), tool).toBeLessThan(1e-5);
    const json = JSON.parse(await readFile(join(output, 'tokenizer.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(JSON.stringify(json['post_processor'])).toMatch(/"Sequence".*emb1.*emb2.*emb3.*"pair"/);
    const config = JSON.parse(await readFile(join(output, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config['vocab_size']).toBe(75);
    const card = await readFile(join(output, 'README.md'), 'utf8');
    expect(card).toContain(
      'trained special tokens `<\\|emb1\\|>` `<\\|emb2\\|>` `<\\|emb3\\|>` behind every text',
    );
    if (aggregate === 'mean') expect(card).toContain('there is no stock module for specialTokens pooling');
  });
});
