import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The real evaluation sets, where they are at hand. */
export const realData =
  process.env['LMVEC_DATA'] ?? resolve(fileURLToPath(new URL('../../..', import.meta.url)), 'shared/data');
export const hasRealData = existsSync(join(realData, 'STS15/test.tsv'));
if (!hasRealData)
  console.warn(`no evaluation sets in ${realData} (LMVEC_DATA): tests on real data are skipped`);

/** A new temporary folder with the given files. */
export async function folderWith(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'lmvec-sets-'));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return folder;
}

export const header = 'score\tsentence1\tsentence2\n';
