import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { describeSystemError } from '../../src/shared/errors.js';
import { writeFolderAtomic } from '../../src/shared/files.js';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('a folder that cannot be replaced is still the old one', async () => {
  const path = join(folder, 'x');
  const write = (content: string) => (temporary: string) => writeFile(join(temporary, 'a'), content);
  await writeFolderAtomic(path, write('old'));
  for (const fill of [
    () => Promise.reject(new Error('cut')),
    // Somebody clears away what is being written.
    (temporary: string) => rm(temporary, { recursive: true }),
  ]) {
    await expect(writeFolderAtomic(path, fill)).rejects.toThrow();
    expect(await readFile(join(path, 'a'), 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['x']);
  }
  await writeFolderAtomic(path, write('new'));
  expect(await readFile(join(path, 'a'), 'utf8')).toBe('new');
  expect(await readdir(folder)).toEqual(['x']);
});

it('a folder that another process has put in the way is said in one sentence', async () => {
  for (const name of ['x', 'y']) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'a'), name);
  }
  const refused = await rename(join(folder, 'y'), join(folder, 'x')).catch((error: unknown) => error);
  expect(describeSystemError(refused)).toMatch(/cannot rename: a folder that is not empty is in the way$/);
});
