import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../../src/shared/errors.js';
import { fuzzedFormats } from './formats.js';
import { mutated } from './mutate.js';

/** What a worker is told: inputs `first` to `last` - 1 of a campaign. */
export interface FuzzJob {
  readonly format: string;
  readonly seed: number;
  readonly first: number;
  readonly last: number;
}

/** What it says: where it stands before each input, and what it found. */
export type FuzzMessage =
  | { readonly at: number }
  | { readonly found: number; readonly error: string }
  | { readonly done: true; readonly refused: number; readonly read: number; readonly peakMegabytes: number };

async function run({ format, seed, first, last }: FuzzJob): Promise<void> {
  const fuzzed = fuzzedFormats[format];
  if (fuzzed === undefined) throw new Error(`no format ${format}`);
  const originals = await fuzzed.originals();
  const folder = await mkdtemp(join(tmpdir(), 'lmvec-fuzz-'));
  const counts = { refused: 0, read: 0 };
  try {
    for (let index = first; index < last; index++) {
      process.send?.({ at: index } satisfies FuzzMessage);
      try {
        await fuzzed.read(folder, mutated(originals, seed, index));
        counts.read += 1;
      } catch (error) {
        if (error instanceof UserError) counts.refused += 1;
        else
          process.send?.({
            found: index,
            error: String(error instanceof Error ? error.stack : error),
          } satisfies FuzzMessage);
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const peakMegabytes = process.resourceUsage().maxRSS / 1024;
  process.send?.({ done: true, ...counts, peakMegabytes } satisfies FuzzMessage, () => process.disconnect());
}

process.once('message', (job) => void run(job as FuzzJob));
