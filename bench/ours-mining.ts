import { open } from 'node:fs/promises';
import { exactSearch } from '../src/mining/search.js';
import { readFloats } from '../src/mining/vector-store.js';
import { internalError } from '../src/shared/errors.js';
import type { Job, Search } from './jobs.js';
import type { OpenBench } from './ours.js';

/** Numbers of all documents that a search goes through; undefined for other jobs. */
export function searchedNumbers(job: Job): number | undefined {
  const search = searchOf(job);
  return search === undefined ? undefined : search.rows * search.dimensions;
}

/** Exact search as `mine` does it, of vectors in files. */
export async function openMining(job: Job): Promise<OpenBench> {
  const search = searchOf(job);
  if (search === undefined) throw internalError('a mining job holds searches');
  const { dimensions, rows } = search;
  const [queries, documents] = await Promise.all([
    vectorsOf(search.queryFile, search),
    vectorsOf(search.documentFile, search),
  ]);
  return {
    run: async (batch) => {
      if (!('search' in batch)) throw internalError('a mining job holds searches');
      const { queries: count, most } = batch.search;
      const asked = { rows: count, dimensions, data: queries.subarray(0, count * dimensions) };
      const sample: number[][] = [];
      const found = exactSearch(asked, { rows, dimensions, data: documents }, { most, threads: job.threads });
      for await (const block of found)
        for (const hits of block) if (sample.length < 4) sample.push([...hits.scores.subarray(0, 10)]);
      return { realTokens: count, multipliedTokens: count, sample };
    },
    close: () => Promise.resolve(),
  };
}

function searchOf({ batches }: Job): Search | undefined {
  const batch = batches[0];
  return batch !== undefined && 'search' in batch ? batch.search : undefined;
}

async function vectorsOf(path: string, { rows, dimensions }: Search): Promise<Float32Array> {
  const file = await open(path);
  try {
    return await readFloats(file, rows * dimensions);
  } finally {
    await file.close();
  }
}
