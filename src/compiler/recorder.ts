import { engine } from '@tensorflow/tfjs';
import type { DataType, Tensor, TensorInfo } from '@tensorflow/tfjs';
import { internalError } from '../shared/errors.js';
import type { RecorderBackend } from './backend.js';
import { factorDimension, isDynamic, type DynamicAxis } from './dimensions.js';
import {
  elementCount,
  type Attribute,
  type Constant,
  type TracedType,
  type Graph,
  type GraphNode,
  type ValueInfo,
} from './graph.js';

/** ONNX's number of the type. */
const INT32 = 6;

/** Values are v0, v1, ..., constants c0, c1, ... */
const INTERNAL_NAME = /^[vc]\d+$/;

/** Larger constants are kept only where their values differ; equal ones become a broadcast scalar. */
const UNIFORM_LIMIT = 16;

export interface RecorderOptions {
  /** Contrib operators of ONNX Runtime (FusedMatMul) allowed; exported embedders stay on the standard ones. */
  readonly contrib: boolean;
  readonly dynamicAxes: readonly DynamicAxis[];
}

/** Collects the nodes of one trace. Kernels (kernels/) call `emit`. */
export class Recorder {
  private readonly nodes: GraphNode[] = [];
  private readonly byOutput = new Map<string, GraphNode>();
  private readonly constants = new Map<string, Constant>();
  private readonly inputs: ValueInfo[] = [];
  private readonly scalars = new Map<string, string>();
  private readonly axisLengths = new Map<string, string>();
  /** Shapes with dynamic axes that are already computed. */
  private readonly shapes = new Map<string, string>();
  private counter = 0;
  private raggedDepth = 0;

  constructor(
    private readonly backend: RecorderBackend,
    readonly options: RecorderOptions,
  ) {}

  input(name: string, shape: readonly number[], type: TracedType): Tensor {
    this.inputs.push({ name, shape, type });
    const value = this.backend.value({ name, shape, type, values: undefined, uniform: undefined });
    if (INTERNAL_NAME.test(name))
      throw internalError(`${name} is a name that a traced graph gives its own values: rename the input`);
    if (type !== 'int64') return engine().makeTensorFromTensorInfo(value);
    return engine().makeTensorFromTensorInfo(
      this.emit('Cast', [value], { shape, type: 'int32' }, { to: { kind: 'int', value: INT32 } }),
    );
  }

  /** Records one node; its output is a tfjs tensor of `shape`. */
  emit(
    op: string,
    inputs: readonly (TensorInfo | string)[],
    output: { readonly shape: readonly number[]; readonly type: TracedType },
    attributes: Readonly<Record<string, Attribute>> = {},
    domain = '',
  ): TensorInfo {
    const name = this.node(op, inputs, output, attributes, domain);
    return this.backend.value({ name, ...output, values: undefined, uniform: undefined });
  }

  /** What `record` emits is ragged: see `GraphNode`. */
  ragged<T>(record: () => T): T {
    this.raggedDepth++;
    try {
      return record();
    } finally {
      this.raggedDepth--;
    }
  }

  /** As `emit`, giving the bare ONNX name (shape arithmetic, int64 helpers). */
  node(
    op: string,
    inputs: readonly (TensorInfo | string)[],
    output: { readonly shape: readonly number[]; readonly type: TracedType },
    attributes: Readonly<Record<string, Attribute>> = {},
    domain = '',
  ): string {
    const name = `v${this.counter++}`;
    const names = inputs.map((input) => (typeof input === 'string' ? input : this.nameOf(input)));
    const node: GraphNode = {
      op,
      domain,
      inputs: names,
      output: { name, ...output },
      attributes,
      ...(this.raggedDepth > 0 ? { ragged: true } : {}),
    };
    this.nodes.push(node);
    this.byOutput.set(name, node);
    return name;
  }

  /** The ONNX name of a tensor; a constant becomes an initializer when first used. */
  nameOf(tensor: TensorInfo): string {
    const recorded = this.backend.recorded(tensor);
    if (recorded.name === undefined) {
      if (recorded.values === undefined) throw internalError('recorded value without a name');
      if (recorded.uniform !== undefined && elementCount(recorded.shape) > UNIFORM_LIMIT) {
        recorded.name = this.node(
          'Expand',
          [this.scalar(recorded.uniform, recorded.type), this.shape(recorded.shape)],
          { shape: recorded.shape, type: recorded.type },
        );
      } else {
        recorded.name = this.constant(recorded.values, recorded.shape, recorded.type);
      }
    }
    return recorded.name;
  }

  /** The node that makes a tensor; undefined for inputs and constants. */
  producer(tensor: TensorInfo): GraphNode | undefined {
    return this.byOutput.get(this.nameOf(tensor));
  }

  /** Shape of a value that has a node or is an input. */
  shapeOf(name: string): readonly number[] | undefined {
    return this.byOutput.get(name)?.output.shape ?? this.inputs.find((value) => value.name === name)?.shape;
  }

  /** The one value of a constant tensor, or undefined. */
  uniformValue(tensor: TensorInfo): number | undefined {
    return this.backend.recorded(tensor).uniform;
  }

  constant(data: Constant['data'], shape: readonly number[], type: TracedType): string {
    const name = `c${this.counter++}`;
    this.constants.set(name, { name, data, shape, type });
    return name;
  }

  scalar(value: number, type: TracedType): string {
    if (type !== 'bool' && isDynamic(value, this.options.dynamicAxes)) return this.dynamicScalar(value, type);
    const key = `${type}:${Object.is(value, -0) ? '-0' : value}`;
    let name = this.scalars.get(key);
    if (name === undefined) {
      name = this.constant(arrayOf(type, [value]), [], type);
      this.scalars.set(key, name);
    }
    return name;
  }

  /** The length of a dynamic axis used as a number, e.g. tf.range(0, tokens). */
  private dynamicScalar(value: number, type: 'float32' | 'int32' | 'int64'): string {
    const length = this.node('Reshape', [this.length(value), this.int64s([])], { shape: [], type: 'int64' });
    const to = { float32: 1, int32: INT32, int64: 7 }[type];
    return this.node('Cast', [length], { shape: [], type }, { to: { kind: 'int', value: to } });
  }

  int64s(values: readonly number[]): string {
    const key = `int64s:${values.join(',')}`;
    let name = this.scalars.get(key);
    if (name === undefined) {
      name = this.constant(BigInt64Array.from(values, BigInt), [values.length], 'int64');
      this.scalars.set(key, name);
    }
    return name;
  }

  /** A shape as an int64 vector: a constant, or arithmetic on the lengths of dynamic axes. */
  shape(shape: readonly number[]): string {
    const { dynamicAxes } = this.options;
    if (!shape.some((length) => isDynamic(length, dynamicAxes))) return this.int64s(shape);
    const key = shape.join();
    let name = this.shapes.get(key);
    if (name === undefined) {
      const parts = shape.map((length) => this.length(length));
      const output = { shape: [shape.length], type: 'int64' } as const;
      name = this.node('Concat', parts, output, { axis: { kind: 'int', value: 0 } });
      this.shapes.set(key, name);
    }
    return name;
  }

  /** As `shape`, for Reshape: one dynamic length can be left to ONNX as -1. */
  reshapeTarget(shape: readonly number[]): string {
    const { dynamicAxes } = this.options;
    const dynamic = shape.filter((length) => isDynamic(length, dynamicAxes)).length;
    if (dynamic === 1)
      return this.int64s(shape.map((length) => (isDynamic(length, dynamicAxes) ? -1 : length)));
    return this.shape(shape);
  }

  /**
   * Refuses what would be a number without meaning at run time: places along a dynamic axis that are neither multiples of dynamic
   * lengths nor small constants (the last but one token, a sequence and a prefix).
   */
  expectLengths(axis: number, places: readonly number[]): void {
    const { dynamicAxes } = this.options;
    if (!isDynamic(axis, dynamicAxes)) return;
    const least = Math.min(...dynamicAxes.map(({ prime }) => prime)) / 2;
    if (places.some((place) => place > least && !isDynamic(place, dynamicAxes)))
      throw internalError(
        'a dynamic axis plus or minus a constant cannot be traced: mask instead of cutting',
      );
  }

  /** One length as an int64 vector of one element. */
  length(length: number): string {
    const { constant, axes } = factorDimension(length, this.options.dynamicAxes);
    const one = { shape: [1], type: 'int64' } as const;
    let name = constant === 1 && axes.length > 0 ? undefined : this.int64s([constant]);
    for (const axis of axes) {
      const factor = this.axisLength(axis);
      name = name === undefined ? factor : this.node('Mul', [name, factor], one);
    }
    return name ?? this.int64s([constant]);
  }

  private axisLength(axis: DynamicAxis): string {
    let name = this.axisLengths.get(axis.name);
    if (name === undefined) {
      const shape = this.node(
        'Shape',
        [axis.input],
        { shape: [1], type: 'int64' },
        {
          start: { kind: 'int', value: axis.axis },
          end: { kind: 'int', value: axis.axis + 1 },
        },
      );
      name = shape;
      this.axisLengths.set(axis.name, name);
    }
    return name;
  }

  finish(outputs: Readonly<Record<string, Tensor>>): Graph {
    const infos = Object.entries(outputs).map(([name, tensor]) => {
      const type = elementType(tensor.dtype);
      if (INTERNAL_NAME.test(name) || this.inputs.some((input) => input.name === name))
        throw internalError(`the output ${name} has the name of another value of the graph: rename it`);
      // An output needs a name of its own: it may be an input or be listed twice.
      this.nodes.push({
        op: 'Identity',
        domain: '',
        inputs: [this.nameOf(tensor)],
        output: { name, shape: tensor.shape, type },
        attributes: {},
      });
      return { name, shape: tensor.shape, type } satisfies ValueInfo;
    });
    return { inputs: this.inputs, outputs: infos, nodes: this.nodes, constants: this.constants };
  }
}

export function elementType(dtype: DataType): 'float32' | 'int32' | 'bool' {
  if (dtype === 'float32' || dtype === 'int32' || dtype === 'bool') return dtype;
  throw internalError(`tensors of type ${dtype} cannot be traced`);
}

function arrayOf(type: TracedType, values: readonly number[]): Constant['data'] {
  switch (type) {
    case 'float32':
      return Float32Array.from(values);
    case 'int32':
      return Int32Array.from(values);
    case 'bool':
      return Uint8Array.from(values);
    case 'int64':
      return BigInt64Array.from(values, BigInt);
  }
}

// tfjs passes the inputs and attributes of a kernel as untyped records; each kernel knows which it has.
export type RecordInputs = Readonly<Record<string, TensorInfo>> & readonly TensorInfo[];
export type RecordAttributes = Readonly<Record<string, unknown>>;
export type RecordKernel = (
  recorder: Recorder,
  inputs: RecordInputs,
  attributes: RecordAttributes,
) => TensorInfo | TensorInfo[];
