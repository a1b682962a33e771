import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where what a device needs may lie outside node_modules: LMVEC_DEVICES, or lmvec/devices in the user's cache folder. */
export function deviceFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const cache = environment['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return environment['LMVEC_DEVICES'] ?? join(cache, 'lmvec', 'devices');
}
