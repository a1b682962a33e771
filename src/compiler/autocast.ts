import {
  producers,
  subgraph,
  type ElementType,
  type Graph,
  type GraphNode,
  type ValueInfo,
} from './graph.js';
import type { HalfPrecision } from './precision.js';
import { DATA_TYPE } from './serialize.js';

const PRODUCTS = new Set(['MatMul', 'FusedMatMul']);

export interface AutocastOptions {
  readonly precision: HalfPrecision;
  /** Inputs that are fed as float16, traced as float32. */
  readonly halved: ReadonlySet<string>;
  /**
   * Operands and results are rounded, and products of them are float32: the numbers of a device that adds up in float32, on one that has no
   * halves. (ONNX Runtime on the CPU would take away the casts around a product of halves, and the rounding with them.)
   */
  readonly emulated: boolean;
}

/**
 * The same graph with matrix products of halves: their operands are cast, each value once, and their results cast back to float32. All other
 * operators stay as they are: norms, softmax, losses and sums over long axes need float32's digits (Micikevicius et al. 2018, section 3.3).
 */
export function autocast(graph: Graph, { precision, halved, emulated }: AutocastOptions): Graph {
  const known = valuesOf(graph, halved);
  const made = producers(graph.nodes);
  const writer = new Writer();
  /** An operand as a product reads it. */
  const operand = (value: ValueInfo): string => {
    const half = writer.cast(known.get(original(value.name, made)) as ValueInfo, precision);
    return (emulated ? writer.cast(half, 'float32') : half).name;
  };
  for (const node of graph.nodes) {
    const operands = node.inputs.map((name) => known.get(name));
    if (!isProduct(node, operands)) {
      const inputs = node.inputs.map((name, index) =>
        halved.has(name) ? writer.cast(operands[index] as ValueInfo, 'float32').name : name,
      );
      writer.nodes.push({ ...node, inputs });
      continue;
    }
    const inputs = operands.map((value) => operand(value as ValueInfo));
    const output = {
      ...node.output,
      name: `product:${node.output.name}`,
      type: emulated ? ('float32' as const) : precision,
    };
    writer.nodes.push({ ...node, inputs, output });
    writer.nodes.push(castNode(writer.cast(output, precision).name, node.output));
  }
  const inputs = graph.inputs.map((input) => known.get(input.name) as ValueInfo);
  // Without the copies that nobody reads any more.
  return subgraph({ ...graph, inputs, nodes: writer.nodes }, graph.outputs);
}

/** What a value is a copy of: tfjs clones what a gradient reads. */
function original(name: string, made: ReadonlyMap<string, GraphNode>): string {
  const node = made.get(name);
  return node?.op === 'Identity' ? original(node.inputs[0] as string, made) : name;
}

function isProduct({ op, output }: GraphNode, operands: readonly (ValueInfo | undefined)[]): boolean {
  const isFloat = (value: ValueInfo | undefined): boolean =>
    value?.type === 'float32' || value?.type === 'float16';
  return PRODUCTS.has(op) && output.type === 'float32' && operands.every(isFloat);
}

class Writer {
  readonly nodes: GraphNode[] = [];
  private readonly casts = new Set<string>();

  /** A value in a type, cast where it has another one, once. */
  cast(value: ValueInfo, type: ElementType): ValueInfo {
    if (value.type === type) return value;
    const output = { ...value, name: `${type}:${value.name}`, type };
    if (!this.casts.has(output.name)) this.nodes.push(castNode(value.name, output));
    this.casts.add(output.name);
    return output;
  }
}

function castNode(from: string, output: ValueInfo): GraphNode {
  return {
    op: 'Cast',
    domain: '',
    inputs: [from],
    output,
    attributes: { to: { kind: 'int', value: DATA_TYPE[output.type] } },
  };
}

function valuesOf({ inputs, nodes, constants }: Graph, halved: ReadonlySet<string>): Map<string, ValueInfo> {
  const fed = inputs.map((input) =>
    halved.has(input.name) ? { ...input, type: 'float16' as const } : input,
  );
  const values = [...fed, ...nodes.map(({ output }) => output), ...constants.values()];
  return new Map(values.map((value) => [value.name, value]));
}
