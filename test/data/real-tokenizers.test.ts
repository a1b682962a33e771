import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createTokenizer, type TextTokenizer } from '../../src/data/tokenizer.js';
import { openDecoder } from '../../src/models/weights/index.js';

/*
 * Ids of hard strings, as Python's `tokenizers` makes them (test/golden/tokenizers/compare.py).
 * LMVEC_TOKENIZERS names a folder of further tokenizers: NAME/tokenizer.json with NAME.json beside it.
 */
const golden = fileURLToPath(new URL('../golden/tokenizers/', import.meta.url));
const strings = readJson(join(golden, 'strings.json')) as string[];
const root = fileURLToPath(new URL('../../', import.meta.url));
const models = process.env['LMVEC_MODELS'] ?? join(root, '..', 'shared', 'models');
const smollm = join(models, 'SmolLM2-135M-Instruct.Q4_1.gguf');
const folder = process.env['LMVEC_TOKENIZERS'];

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function idsIn(path: string): number[][] {
  return (readJson(path) as { ids: number[][] }).ids;
}

function fromFolder(path: string): TextTokenizer {
  const config = join(path, 'tokenizer_config.json');
  const described = existsSync(config) ? readJson(config) : {};
  return createTokenizer(
    readJson(join(path, 'tokenizer.json')) as Record<string, unknown>,
    described as Record<string, unknown>,
    path,
  );
}

/** The strings whose ids differ, with both. */
function differences(tokenizer: TextTokenizer, expected: readonly number[][]): unknown[] {
  return strings.flatMap((text, index) => {
    const got = Array.from(tokenizer.encode(text));
    const wanted = expected[index]!;
    return got.join() === wanted.join() ? [] : [{ text: text.slice(0, 80), got, wanted }];
  });
}

describe('ids of hard strings as Python tokenizers makes them', () => {
  it('the embedded decoder', () => {
    const expected = idsIn(join(golden, 'tiny.json'));
    expect(expected.length).toBe(strings.length);
    expect(differences(fromFolder(join(root, 'assets', 'tiny')), expected)).toEqual([]);
  });

  it.skipIf(!existsSync(smollm))(`SmolLM2 from its GGUF file (${smollm})`, async () => {
    const source = await openDecoder(smollm);
    try {
      const tokenizer = createTokenizer(source.tokenizer.json, source.tokenizer.config);
      const expected = idsIn(join(golden, 'smollm2.json'));
      expect(differences(tokenizer, expected)).toEqual([]);
    } finally {
      await source.weights.close();
    }
  });

  it.skipIf(folder === undefined)(
    'further tokenizers (only where LMVEC_TOKENIZERS names a folder of them)',
    () => {
      const names = readdirSync(folder!).filter((name) => existsSync(join(folder!, name, 'tokenizer.json')));
      expect(names).not.toEqual([]);
      for (const name of names)
        expect([
          name,
          differences(fromFolder(join(folder!, name)), idsIn(join(folder!, `${name}.json`))),
        ]).toEqual([name, []]);
    },
    600_000,
  );
});
