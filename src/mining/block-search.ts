import { elementCount, type Graph } from '../compiler/graph.js';
import { TensorPool } from '../compiler/pool.js';
import { floats, Program, type HostTensor } from '../compiler/program.js';
import { internalError } from '../shared/errors.js';
import type { Embeddings } from '../pooling/packed-encoder.js';
import { BestDocuments, type Exclusions, type Hits } from './best-documents.js';

/** What is searched for and in; can be sent to another thread, its vectors best in memory that threads share. */
export interface SearchStart {
  /** [N, E] both. */
  readonly queries: Embeddings;
  readonly documents: Embeddings;
  /** Most documents of a query. */
  readonly most: number;
  /** Of one product. */
  readonly threads: number;
  /** [1], seen by all threads: other than 0 where nobody waits for hits any more. */
  readonly stopped: Int32Array;
}

/** Some of the queries. */
export interface QueryBlock extends Exclusions {
  readonly first: number;
  readonly count: number;
  /** See `scoreGraph`; for as many queries or more. */
  readonly graph: Graph;
}

/** Searches all documents for one block of queries after the other, in products that stay in the cache. */
export class BlockSearch {
  private readonly pool = new TensorPool();

  constructor(private readonly start: SearchStart) {}

  /** Hits of each query of the block. */
  async search({ graph, first, count, ...exclusions }: QueryBlock): Promise<Hits[]> {
    const { queries, documents, most, threads, stopped } = this.start;
    const best = new BestDocuments(count, most, exclusions);
    // As a constant the queries are laid out for the product once, not for each part of the documents.
    const program = await Program.create(withConstant(graph, 'queries', rowsOf(queries, first, count)), {
      pool: this.pool,
      threads,
    });
    const part = this.acquire(program.inputs, 'documents');
    const [scores, groups] = [
      this.acquire(program.outputs, 'scores'),
      this.acquire(program.outputs, 'groups'),
    ];
    const [rows = 0, width = 0] = scores.dims;
    try {
      for (let from = 0; from < documents.rows && stopped[0] === 0; from += rows) {
        const found = Math.min(rows, documents.rows - from);
        floats(part).set(rowsOf(documents, from, found));
        await program.run({ documents: part }, { scores, groups });
        best.add({ scores: floats(scores), groups: floats(groups), width, first: from, count: found });
      }
    } finally {
      this.pool.release(part, scores, groups);
      await program.release();
    }
    return best.hits();
  }

  private acquire(values: Graph['inputs'], name: string): HostTensor {
    const value = values.find((one) => one.name === name);
    if (value === undefined) throw internalError(`the graph of a search has no ${name}`);
    return this.pool.acquire(value.shape);
  }
}

function rowsOf({ data, dimensions }: Embeddings, first: number, count: number): Float32Array {
  return data.subarray(first * dimensions, (first + count) * dimensions);
}

/** The graph with the values of one input inside, blank ones behind them where they are too few. */
function withConstant(graph: Graph, name: string, values: Float32Array): Graph {
  const input = graph.inputs.find((one) => one.name === name);
  if (input === undefined) throw internalError(`the graph of a search has no ${name}`);
  const data = new Float32Array(elementCount(input.shape));
  data.set(values);
  return {
    ...graph,
    inputs: graph.inputs.filter((one) => one !== input),
    constants: new Map([...graph.constants, [name, { ...input, data }]]),
  };
}
