import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fuzzedFormats } from '../../bench/fuzz/formats.js';
import { mutated, type Parts } from '../../bench/fuzz/mutate.js';
import { UserError } from '../../src/shared/errors.js';

/** Of each format; bench/fuzz.ts reads a million. */
const inputs = 150;
const seed = 2026;
const found = join(import.meta.dirname, '../golden/fuzz');

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-fuzz-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** undefined where it was read or refused with a sentence. */
async function failureOf(format: string, parts: Parts): Promise<string | undefined> {
  try {
    await fuzzedFormats[format]!.read(folder, parts);
    return undefined;
  } catch (error) {
    if (error instanceof UserError) {
      expect(error.message.length).toBeLessThan(20_000);
      return undefined;
    }
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

describe.each(Object.keys(fuzzedFormats))('%s', (format) => {
  it('mutated inputs are read, or refused with a sentence', async () => {
    const originals = await fuzzedFormats[format]!.originals();
    for (const original of originals) expect(await failureOf(format, original)).toBeUndefined();
    for (let index = 0; index < inputs; index++)
      expect([index, await failureOf(format, mutated(originals, seed, index))]).toEqual([index, undefined]);
    expect(mutated(originals, seed, 5)).toEqual(mutated(originals, seed, 5));
  });

  const kept = join(found, format);
  it.runIf(existsSync(kept))('inputs that once were read wrongly', async () => {
    for (const name of readdirSync(kept)) {
      const files = readdirSync(join(kept, name), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name));
      const parts = Object.fromEntries(
        files.map((file) => [relative(join(kept, name), file), readFileSync(file)]),
      );
      expect([name, await failureOf(format, parts)]).toEqual([name, undefined]);
    }
  });
});
