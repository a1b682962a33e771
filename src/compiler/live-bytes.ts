import { elementCount, type Graph, type ValueInfo } from './graph.js';

/** Operators whose result is their input's memory. */
const ALIASES = new Set(['Reshape', 'Identity', 'Unsqueeze', 'Squeeze']);

/** Bytes of the values inside a graph that are alive at once, at most, in the order of its nodes. Inputs and outputs are the caller's. */
export function mostLiveBytes(graph: Graph): number {
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const memoryOf = new Map<string, string>();
  const owner = (name: string): string => memoryOf.get(name) ?? name;
  const lastRead = new Map<string, number>();
  for (const [place, { op, inputs, output }] of graph.nodes.entries()) {
    if (ALIASES.has(op)) memoryOf.set(output.name, owner(inputs[0] as string));
    for (const input of inputs) lastRead.set(owner(input), place);
  }
  const live = new Map<string, number>();
  let bytes = 0;
  let most = 0;
  for (const [place, { op, inputs, output }] of graph.nodes.entries()) {
    if (!ALIASES.has(op) && !outputs.has(output.name)) {
      const own = valueBytes(output);
      live.set(output.name, own);
      bytes += own;
      most = Math.max(most, bytes);
    }
    for (const name of new Set([...inputs.map(owner), owner(output.name)])) {
      if ((lastRead.get(name) ?? place) > place) continue;
      bytes -= live.get(name) ?? 0;
      live.delete(name);
    }
  }
  return most;
}

/** Bytes of a value. */
export function valueBytes({ shape, type }: ValueInfo): number {
  return elementCount(shape) * (type === 'bool' ? 1 : type === 'int64' ? 8 : 4);
}
