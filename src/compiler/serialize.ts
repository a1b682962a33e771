import onnxProto from 'onnx-proto';
import type { onnx as Onnx } from 'onnx-proto';
import { internalError } from '../shared/errors.js';
import {
  elementCount,
  type Attribute,
  type Constant,
  type ElementType,
  type Graph,
  type ValueInfo,
} from './graph.js';

const { onnx } = onnxProto;

/** Opset 18 is the first with the bitwise operators and axes-as-inputs everywhere; every current runtime reads it. */
const OPSET = 18;
const IR_VERSION = 8;

/** ONNX's number of each type. */
export const DATA_TYPE: Readonly<Record<ElementType, number>> = {
  float32: onnx.TensorProto.DataType.FLOAT,
  int32: onnx.TensorProto.DataType.INT32,
  bool: onnx.TensorProto.DataType.BOOL,
  int64: onnx.TensorProto.DataType.INT64,
  float16: onnx.TensorProto.DataType.FLOAT16,
  bfloat16: onnx.TensorProto.DataType.BFLOAT16,
  int8: onnx.TensorProto.DataType.INT8,
  uint8: onnx.TensorProto.DataType.UINT8,
};

export interface SerializeOptions {
  /** Name of an axis length where a shape holds one of these primes. */
  readonly dimensionNames?: ReadonlyMap<number, string>;
  readonly producerVersion?: string;
  /** Graph inputs that the caller stores in the file itself: they are left out of the inputs. See `serializeParts`. */
  readonly stored?: ReadonlySet<string>;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Adds a first output of this name, an empty sequence: see `Program.run`. */
  readonly completion?: string;
}

/** A graph as an ONNX ModelProto, constants inside. */
export function serialize(graph: Graph, options: SerializeOptions = {}): Uint8Array {
  const model = modelProto(graph, options);
  return onnx.ModelProto.encode({ ...model, graph: graphProto(graph, options) }).finish();
}

/**
 * A ModelProto without its graph, and the GraphProto alone: a writer puts them together and streams the weights' initializers
 * behind the graph's bytes (the fields of a protobuf message may come in any order), without a copy of them in memory.
 */
export function serializeParts(
  graph: Graph,
  options: SerializeOptions,
): { readonly model: Uint8Array; readonly graph: Uint8Array } {
  return {
    model: onnx.ModelProto.encode(modelProto(graph, options)).finish(),
    graph: onnx.GraphProto.encode(graphProto(graph, options)).finish(),
  };
}

function modelProto(graph: Graph, options: SerializeOptions): Onnx.IModelProto {
  const usesContrib = graph.nodes.some((node) => node.domain !== '');
  return {
    irVersion: IR_VERSION,
    producerName: 'lmvec',
    producerVersion: options.producerVersion ?? '',
    opsetImport: [
      { domain: '', version: OPSET },
      ...(usesContrib ? [{ domain: 'com.microsoft', version: 1 }] : []),
    ],
    metadataProps: Object.entries(options.metadata ?? {}).map(([key, value]) => ({ key, value })),
  };
}

function graphProto(
  graph: Graph,
  { stored, completion, dimensionNames }: SerializeOptions,
): Onnx.IGraphProto {
  return {
    name: 'lmvec',
    node: [
      ...graph.nodes.map((node, index) => ({
        name: `n${index}`,
        opType: node.op,
        domain: node.domain,
        input: [...node.inputs],
        output: node.op === 'TopK' ? [node.output.name, `${node.output.name}_indices`] : [node.output.name],
        attribute: Object.entries(node.attributes).map(([name, value]) => attributeProto(name, value)),
      })),
      ...(completion === undefined
        ? []
        : [{ name: completion, opType: 'SequenceEmpty', output: [completion] }]),
    ],
    initializer: [...graph.constants.values()].map(tensorProto),
    input: graph.inputs
      .filter((input) => stored?.has(input.name) !== true)
      .map((input) => valueProto(input, dimensionNames)),
    output: [
      ...(completion === undefined ? [] : [emptySequence(completion)]),
      ...graph.outputs.map((output) => valueProto(output, dimensionNames)),
    ],
  };
}

function attributeProto(name: string, attribute: Attribute): Onnx.IAttributeProto {
  const types = onnx.AttributeProto.AttributeType;
  switch (attribute.kind) {
    case 'int':
      return { name, type: types.INT, i: attribute.value };
    case 'float':
      return { name, type: types.FLOAT, f: attribute.value };
    case 'ints':
      return { name, type: types.INTS, ints: [...attribute.value] };
    case 'string':
      return { name, type: types.STRING, s: new TextEncoder().encode(attribute.value) };
  }
}

function tensorProto(constant: Constant): Onnx.ITensorProto {
  const { data } = constant;
  if (data.length !== elementCount(constant.shape)) {
    throw internalError(
      `constant ${constant.name} has ${data.length} values, its shape [${constant.shape.join(', ')}] another number`,
    );
  }
  return {
    name: constant.name,
    dims: [...constant.shape],
    dataType: DATA_TYPE[constant.type],
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  };
}

function valueProto(value: ValueInfo, names?: ReadonlyMap<number, string>): Onnx.IValueInfoProto {
  return {
    name: value.name,
    type: {
      tensorType: {
        elemType: DATA_TYPE[value.type],
        shape: {
          dim: value.shape.map((dimension) => {
            const name = names?.get(dimension);
            return name === undefined ? { dimValue: dimension } : { dimParam: name };
          }),
        },
      },
    },
  };
}

function emptySequence(name: string): Onnx.IValueInfoProto {
  return { name, type: { sequenceType: { elemType: { tensorType: { elemType: DATA_TYPE.float32 } } } } };
}
