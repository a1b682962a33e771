import type { Embeddings } from '../pooling/packed-encoder.js';
import { sharedFloats, WorkerThread } from '../shared/worker-thread.js';
import type { Hits } from './best-documents.js';
import { BlockSearch, type QueryBlock, type SearchStart } from './block-search.js';

/** Searches for one block at a time. */
interface Searcher {
  ask(block: QueryBlock): Promise<Hits[]>;
  stop(): Promise<void>;
}

/** Threads that search, or where there is one only this one; each block goes to the first that is free. */
export class Searchers {
  private readonly all: readonly Searcher[];
  private readonly free: Searcher[];
  /** All threads see it. */
  private readonly stopped = new Int32Array(new SharedArrayBuffer(4));
  private readonly waiting: ((searcher: Searcher) => void)[] = [];

  constructor(count: number, given: Omit<SearchStart, 'stopped'>) {
    const start = { ...given, stopped: this.stopped };
    this.all = count === 1 ? [onThisThread(start)] : onThreads(count, start);
    this.free = [...this.all];
  }

  async search(block: QueryBlock): Promise<Hits[]> {
    const searcher = this.free.pop() ?? (await new Promise<Searcher>((free) => this.waiting.push(free)));
    try {
      return await searcher.ask(block);
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free.push(searcher);
      else next(searcher);
    }
  }

  /** What is searched for now is not finished. */
  async stop(): Promise<void> {
    this.stopped[0] = 1;
    await Promise.all(this.all.map((searcher) => searcher.stop()));
  }
}

function onThisThread(start: SearchStart): Searcher {
  const search = new BlockSearch(start);
  return { ask: (block) => search.search(block), stop: () => Promise.resolve() };
}

function onThreads(count: number, start: SearchStart): Searcher[] {
  const shared = {
    ...start,
    queries: inSharedMemory(start.queries),
    documents: inSharedMemory(start.documents),
  };
  const file = new URL('./search-worker.js', import.meta.url);
  return Array.from({ length: count }, () => new WorkerThread<QueryBlock, Hits[]>(file, shared));
}

function inSharedMemory(vectors: Embeddings): Embeddings {
  if (vectors.data.buffer instanceof SharedArrayBuffer) return vectors;
  const data = sharedFloats(vectors.data.length);
  data.set(vectors.data);
  return { ...vectors, data };
}
