import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { internalError } from './errors.js';

/** The folder of this package: where `assets/` and `configs/` lie, from the sources and from `dist/`. */
export const packageFolder: string = findPackageFolder(import.meta.dirname);

/** Path of a file or folder under assets/. */
export function assetPath(...parts: readonly string[]): string {
  return join(packageFolder, 'assets', ...parts);
}

/** This package's version, and the exact versions of what it is built on. */
export function packageVersions(): {
  readonly lmvec: string;
  readonly dependencies: Readonly<Record<string, string>>;
} {
  const { version, dependencies } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as {
    readonly version: string;
    readonly dependencies: Readonly<Record<string, string>>;
  };
  return { lmvec: version, dependencies };
}

function findPackageFolder(start: string): string {
  for (let folder = start; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
  }
  throw internalError(`no package.json above ${start}`);
}
