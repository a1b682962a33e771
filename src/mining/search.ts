import { availableParallelism } from 'node:os';
import type { Graph } from '../compiler/graph.js';
import type { Embeddings } from '../pooling/packed-encoder.js';
import { workersRun } from '../shared/worker-thread.js';
import { GROUP, type Exclusions, type Hits } from './best-documents.js';
import type { QueryBlock } from './block-search.js';
import { scoreGraph } from './score-graph.js';
import { Searchers } from './searchers.js';

/** Queries and documents of one product: large enough for its best rate, small enough that its scores stay in the cache. */
const QUERIES = 512;
const DOCUMENTS = 512;
/** Fewer queries than this are no work for a thread of its own, nor are products of fewer operations (about 20 ms). */
const FEWEST_QUERIES = 64;
const FEWEST_OPERATIONS = 1e9;

export interface SearchOptions extends Exclusions {
  /** Most documents of a query. */
  readonly most: number;
  /** Default: all cores. The hits do not depend on it. */
  readonly threads?: number;
  /** Query to begin with. */
  readonly from?: number;
}

/**
 * Exact search by inner product in blocks: the score matrix is never held. Yields the hits of each block of queries in their order.
 * Both sides [N, E]; of equal scores the document of the lower number comes first. Each thread searches for a block of its own: on two
 * cores that is faster than products on two threads. Vectors that do not lie in memory that threads share (`sharedFloats`) are copied there.
 */
export async function* exactSearch(
  queries: Embeddings,
  documents: Embeddings,
  { most, threads = availableParallelism(), from = 0, skip, ceilings }: SearchOptions,
): AsyncGenerator<Hits[]> {
  const left = queries.rows - from;
  if (left <= 0) return;
  const size = Math.min(QUERIES, Math.max(FEWEST_QUERIES, padded(left / threads)));
  const isSmall = 2 * left * documents.rows * documents.dimensions < FEWEST_OPERATIONS;
  const count = isSmall || !workersRun() ? 1 : Math.min(threads, Math.ceil(left / size));
  const share = Math.max(1, Math.floor(threads / count));
  const searchers = new Searchers(count, { queries, documents, most, threads: share });
  const graphs = new Map<number, Graph>();
  const blockFrom = (first: number): QueryBlock => {
    const end = Math.min(first + size, queries.rows);
    return {
      first,
      count: end - first,
      graph: graphFor(graphs, padded(end - first), documents),
      ...(skip === undefined ? {} : { skip: skip.slice(first, end) }),
      ...(ceilings === undefined ? {} : { ceilings: ceilings.slice(first, end) }),
    };
  };
  // In the order of the blocks; a searcher goes on with another one while the one whose turn it is takes longer.
  const asked: Promise<Hits[]>[] = [];
  try {
    for (let first = from; first < queries.rows; first += size) {
      const hits = searchers.search(blockFrom(first));
      // Whose turn never comes, because one before it failed, fails unheard.
      hits.catch(() => undefined);
      asked.push(hits);
      if (asked.length === 2 * count - 1) yield (await asked.shift()) as Hits[];
    }
    for (const hits of asked) yield await hits;
  } finally {
    await searchers.stop();
  }
}

/** Traced once for each number of queries: all blocks but the last have the same. */
function graphFor(graphs: Map<number, Graph>, queries: number, { rows, dimensions }: Embeddings): Graph {
  const known = graphs.get(queries);
  if (known !== undefined) return known;
  const graph = scoreGraph({ documents: Math.min(DOCUMENTS, padded(rows)), queries, dimensions });
  graphs.set(queries, graph);
  return graph;
}

/** Blank ones fill what is no whole group: the products of all blocks, also the narrow ones, are then the same to the last bit. */
function padded(count: number): number {
  return Math.ceil(count / GROUP) * GROUP;
}
