import { transpose } from '../shared/matrix.js';
import type { Graph, GraphNode } from '../compiler/graph.js';
import type { EmbedderGraph, StoredWeight, TracedWeight } from './graph.js';

/**
 * Stores a matrix transposed where the graph does nothing but transpose it: runtimes then neither do it at load, with a second copy in
 * memory, nor at every run, and quantisers find the plain `MatMul` with a constant that they look for.
 */
export function foldTransposes(
  graph: Graph,
  weights: ReadonlyMap<string, TracedWeight>,
): Pick<EmbedderGraph, 'graph' | 'weights'> {
  const readers = new Map<string, number>();
  for (const node of graph.nodes)
    for (const input of node.inputs) readers.set(input, (readers.get(input) ?? 0) + 1);
  const renamed = new Map<string, string>();
  const stored = new Map<string, StoredWeight>();
  for (const [name, weight] of weights) stored.set(name, { name, type: 'float32', ...weight });
  const nodes: GraphNode[] = [];
  for (const node of graph.nodes) {
    const name = node.op === 'Transpose' ? (node.inputs[0] ?? '') : '';
    const weight = weights.get(name);
    if (weight?.shape.length === 2 && readers.get(name) === 1) {
      const [rows, columns] = weight.shape as [number, number];
      renamed.set(node.output.name, name);
      stored.set(name, {
        ...weight,
        name,
        shape: [columns, rows],
        type: 'float32',
        data: () => transpose(weight.data(), rows, columns),
      });
    } else nodes.push({ ...node, inputs: node.inputs.map((input) => renamed.get(input) ?? input) });
  }
  const inputs = graph.inputs.map((input) => ({
    ...input,
    shape: stored.get(input.name)?.shape ?? input.shape,
  }));
  const present = new Set(inputs.map((input) => input.name));
  return {
    graph: { ...graph, inputs, nodes },
    weights: [...stored.values()].filter(({ name }) => present.has(name)),
  };
}
