/** Tensor types that cross the border of a traced function. */
export type TracedType = 'float32' | 'int32' | 'bool' | 'int64';
/** Those, and the types that weights are stored or multiplied in. */
export type ElementType = TracedType | 'float16' | 'bfloat16' | 'int8' | 'uint8';

export interface ValueInfo {
  readonly name: string;
  /** Concrete while tracing; a dynamic axis is stood for by its prime (see dimensions.ts). */
  readonly shape: readonly number[];
  readonly type: ElementType;
}

export type Attribute =
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'ints'; readonly value: readonly number[] }
  | { readonly kind: 'string'; readonly value: string };

export interface GraphNode {
  readonly op: string;
  /** '' for standard ONNX, 'com.microsoft' for ONNX Runtime's own. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly output: ValueInfo;
  readonly attributes: Readonly<Record<string, Attribute>>;
  /** The output's first axis has as many rows as the data say when it runs; `shape` holds the most. Stays inside the graph. */
  readonly ragged?: true;
}

export interface Constant extends ValueInfo {
  readonly data: Float32Array | Int32Array | Uint8Array | BigInt64Array;
}

/** A traced function: nodes in topological order. */
export interface Graph {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly nodes: readonly GraphNode[];
  readonly constants: ReadonlyMap<string, Constant>;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

/** Index of the node that makes each value. */
export function producers(nodes: readonly GraphNode[]): Map<string, GraphNode> {
  return new Map(nodes.map((node) => [node.output.name, node]));
}

/**
 * The part of a graph that computes `outputs`, walking back until an input or one of `given` (values that the caller supplies,
 * which become inputs). Nodes, constants and inputs that nobody reads are left out.
 */
export function subgraph(
  graph: Graph,
  outputs: readonly ValueInfo[],
  given: ReadonlySet<string> = new Set(),
): Graph {
  const made = producers(graph.nodes);
  const inputNames = new Set(graph.inputs.map((input) => input.name));
  const needed = new Set<string>();
  const extraInputs = new Map<string, ValueInfo>();
  const stack = outputs.map((output) => output.name);
  while (stack.length > 0) {
    const name = stack.pop() as string;
    if (needed.has(name)) continue;
    needed.add(name);
    const node = made.get(name);
    if (node === undefined) continue;
    if (given.has(name)) extraInputs.set(name, node.output);
    else stack.push(...node.inputs.filter((input) => input !== ''));
  }
  return {
    inputs: [
      ...graph.inputs.filter((input) => inputNames.has(input.name) && needed.has(input.name)),
      ...extraInputs.values(),
    ],
    outputs,
    nodes: graph.nodes.filter((node) => needed.has(node.output.name) && !extraInputs.has(node.output.name)),
    constants: new Map([...graph.constants].filter(([name]) => needed.has(name))),
  };
}
