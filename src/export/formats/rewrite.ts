import type { Attribute, Constant, ElementType, GraphNode, ValueInfo } from '../../compiler/graph.js';
import { DATA_TYPE } from '../../compiler/serialize.js';
import { internalError } from '../../shared/errors.js';
import type { EmbedderGraph, StoredWeight } from '../graph.js';

/** A stored matrix as a graph uses it, not yet converted. */
export interface Matrix {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns], row-major; made anew at every call. */
  readonly data: () => Float32Array;
}

/** How a format stores matrices. Each function writes the nodes that take a node's place; false leaves it as it is. */
export interface Conversion {
  /** y [M, columns] = x [M, rows] W */
  product(writer: GraphWriter, node: GraphNode, matrix: Matrix): boolean;
  /** y [..., columns] = W[ids] */
  lookup(writer: GraphWriter, node: GraphNode, matrix: Matrix): boolean;
}

/** Puts a format's nodes and weights in the place of the products with stored matrices and of the lookups in them; all else stays. */
export function rewrite(embedder: EmbedderGraph, conversion: Conversion): EmbedderGraph {
  const { graph } = embedder;
  const writer = new GraphWriter('w');
  const stored = new Map(embedder.weights.map((weight) => [weight.name, weight]));
  for (const node of graph.nodes) {
    const matrix = matrixOf(node, stored);
    const converted =
      matrix !== undefined &&
      (node.op === 'MatMul'
        ? conversion.product(writer, node, matrix)
        : conversion.lookup(writer, node, matrix));
    if (!converted) writer.keep(node);
  }
  const constants = new Map([...graph.constants, ...writer.constants]);
  const read = new Set(writer.nodes.flatMap(({ inputs }) => inputs));
  const weights = [...embedder.weights, ...writer.weights].filter(({ name }) => read.has(name));
  const inputs: ValueInfo[] = graph.inputs.filter(({ name }) => !stored.has(name));
  return {
    ...embedder,
    weights,
    graph: {
      ...graph,
      nodes: writer.nodes,
      constants,
      inputs: [...inputs, ...weights.map(({ name, shape, type }) => ({ name, shape, type }))],
    },
  };
}

/** The matrix of a product `x W` or of a lookup of rows; undefined for other nodes and for matrices that stay float32. */
function matrixOf(node: GraphNode, stored: ReadonlyMap<string, StoredWeight>): Matrix | undefined {
  const at = node.op === 'MatMul' ? 1 : node.op === 'Gather' ? 0 : undefined;
  const weight = at === undefined ? undefined : stored.get(node.inputs[at] ?? '');
  if (weight?.shape.length !== 2 || weight.type !== 'float32' || weight.exact === true) return undefined;
  const axis = node.attributes['axis'];
  if (node.op === 'Gather' && axis?.kind === 'int' && axis.value !== 0) return undefined;
  const [rows, columns] = weight.shape as [number, number];
  return { name: weight.name, rows, columns, data: () => floatsOf(weight) };
}

function floatsOf(weight: StoredWeight): Float32Array {
  const data = weight.data();
  if (!(data instanceof Float32Array)) throw internalError(`${weight.name} is not float32`);
  return data;
}

type Shape = readonly number[];

/** Collects the nodes, constants and weights of a rewritten graph. */
export class GraphWriter {
  readonly nodes: GraphNode[] = [];
  readonly weights: StoredWeight[] = [];
  readonly constants = new Map<string, Constant>();
  private readonly made = new Map<string, string>();

  /** @param prefix begins every name that it makes: none of the graph's may */
  constructor(private readonly prefix: string) {}

  keep(node: GraphNode): void {
    this.nodes.push(node);
  }

  /** The name of a value that is made once for all who ask for it under this key. */
  once(key: string, make: () => string): string {
    const name = this.made.get(key) ?? make();
    this.made.set(key, name);
    return name;
  }

  /** Adds a node; its output gets a name where none is given. */
  node(
    op: string,
    inputs: readonly string[],
    output: { readonly shape: Shape; readonly type: ElementType; readonly name?: string },
    options: { readonly attributes?: Readonly<Record<string, Attribute>>; readonly domain?: string } = {},
  ): string {
    const name = output.name ?? `${this.prefix}${this.nodes.length}`;
    const { attributes = {}, domain = '' } = options;
    this.nodes.push({ op, domain, inputs, output: { ...output, name }, attributes });
    return name;
  }

  cast(
    x: string,
    output: { readonly shape: Shape; readonly type: ElementType; readonly name?: string },
  ): string {
    const attributes = { to: { kind: 'int', value: DATA_TYPE[output.type] } } as const;
    return this.node('Cast', [x], output, { attributes });
  }

  /** A single number, or an int64 vector of one (`axes`). */
  constant(data: Constant['data'], shape: Shape, type: ElementType): string {
    return this.once(`constant ${type} [${shape.join()}] ${data.join()}`, () => {
      const name = `${this.prefix}c${this.constants.size}`;
      this.constants.set(name, { name, data, shape, type });
      return name;
    });
  }

  number(value: number): string {
    return this.constant(Float32Array.of(value), [], 'float32');
  }

  /** Adds a weight. @returns its name */
  store(weight: StoredWeight): string {
    return this.once(`weight ${weight.name}`, () => {
      this.weights.push(weight);
      return weight.name;
    });
  }
}

/** Two weights that come of one computation, which is done once where they are written one after the other, and kept no longer. */
export function together<A, B>(
  compute: () => readonly [A, B],
): { readonly first: () => A; readonly second: () => B } {
  let waiting: readonly [A, B] | undefined;
  return {
    first: () => {
      waiting = compute();
      return waiting[0];
    },
    second: () => {
      const [, second] = waiting ?? compute();
      waiting = undefined;
      return second;
    },
  };
}
