import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from './package-root.js';

/** This package's version, and the exact versions of what it is built on. */
export function packageVersions(): {
  readonly lmvec: string;
  readonly dependencies: Readonly<Record<string, string>>;
} {
  const { version, dependencies } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
    readonly version: string;
    readonly dependencies: Readonly<Record<string, string>>;
  };
  return { lmvec: version, dependencies };
}
