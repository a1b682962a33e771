import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { internalError } from './errors.js';

/** The folder of this package (where its package.json and assets/ lie), from the sources as well as from dist/. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw internalError('no package.json above the code');
    folder = parent;
  }
  return folder;
}

/** Path of a file or folder under assets/. */
export function assetPath(...parts: readonly string[]): string {
  return join(packageRoot(), 'assets', ...parts);
}
