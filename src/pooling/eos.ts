import { lastPooling } from './last.js';
import type { Pooling } from './pooling.js';

/** The end token, which is put behind every text. */
export function eosPooling(): Pooling {
  return { ...lastPooling(), appendEos: true };
}
