import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Parts } from './mutate.js';

/** Writes the files of an input, in the place of those of the one before. */
export async function writeParts(folder: string, parts: Parts): Promise<void> {
  for (const [name, bytes] of Object.entries(parts)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), bytes);
  }
}
