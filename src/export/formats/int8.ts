import type { GraphNode } from '../../compiler/graph.js';
import { together, type Conversion, type GraphWriter, type Matrix } from './rewrite.js';

/** Zero of unsigned 8-bit numbers: 1 to 255 stand for -127 to 127. */
const ZERO = 128;
const LARGEST = 127;
/** A row of zeros is divided by this. */
const SMALLEST_SCALE = 1e-30;

/**
 * 8-bit products: a matrix has one scale a column, activations one scale a token, found as the graph runs (dynamic quantisation), both
 * symmetric. DynamicQuantizeLinear would take one scale for a whole batch: the first token of a decoder, hundreds of times as large as
 * the others, would leave them few of the 256 steps, and a text's embedding would depend on its neighbours.
 * Both operands are unsigned: with signed weights, processors that have AVX2 but no VNNI instructions saturate sums without saying so.
 */
export const int8: Conversion = {
  product: (writer, node, matrix) => {
    const shape = [...node.output.shape.slice(0, -1), matrix.rows];
    const given = node.inputs[0] as string;
    const x = node.ragged === true ? withRowOfZeros(writer, given, shape) : given;
    const { quantised, scale } = quantisedRows(writer, x, shape);
    const stored = storeByColumn(writer, matrix);
    const zero = writer.constant(Uint8Array.of(ZERO), [], 'uint8');
    const output = node.output;
    const sums = writer.node('MatMulInteger', [quantised, stored.matrix, zero, zero], {
      shape: output.shape,
      type: 'int32',
    });
    const floats = writer.cast(sums, { shape: output.shape, type: 'float32' });
    const byToken = writer.node('Mul', [floats, scale], { shape: output.shape, type: 'float32' });
    if (node.ragged === true) {
      const { shape: places, type } = output;
      const product = writer.node('Mul', [byToken, stored.scale], { shape: places, type });
      const at = (place: number) => writer.constant(BigInt64Array.of(BigInt(place)), [1], 'int64');
      writer.node('Slice', [product, at(0), at(-1), at(0)], output);
    } else writer.node('Mul', [byToken, stored.scale], output);
    return true;
  },
  lookup: (writer, node, matrix) => lookupInt8(writer, node, matrix),
};

/** Rows looked up in a table of 8-bit numbers with one scale a row. */
export function lookupInt8(writer: GraphWriter, node: GraphNode, matrix: Matrix): boolean {
  const ids = node.inputs[1] as string;
  const { name, rows, columns } = matrix;
  const parts = together(() => quantiseRows(matrix.data(), rows, columns));
  const table = writer.store({
    name: `${name}.int8`,
    shape: [rows, columns],
    type: 'int8',
    data: parts.first,
  });
  const scales = writer.store({
    name: `${name}.row_scale`,
    shape: [rows, 1],
    type: 'float32',
    data: parts.second,
  });
  const { output, attributes } = node;
  const scaleShape = [...output.shape.slice(0, -1), 1];
  const numbers = writer.node('Gather', [table, ids], { shape: output.shape, type: 'int8' }, { attributes });
  const scale = writer.node('Gather', [scales, ids], { shape: scaleShape, type: 'float32' }, { attributes });
  const floats = writer.cast(numbers, { shape: output.shape, type: 'float32' });
  writer.node('Mul', [floats, scale], output);
  return true;
}

/** An expert may have no row: ONNX Runtime's ReduceMax gives a wrong shape for none. */
function withRowOfZeros(writer: GraphWriter, x: string, shape: readonly number[]): string {
  const width = shape.at(-1) ?? 0;
  const zeros = writer.constant(new Float32Array(width), [1, width], 'float32');
  const attributes = { axis: { kind: 'int', value: 0 } } as const;
  return writer.once(`one more row than ${x}`, () =>
    writer.node('Concat', [x, zeros], { shape, type: 'float32' }, { attributes }),
  );
}

/** x [..., K] in 8 bits and its scales [..., 1], made once for the products that share it. */
function quantisedRows(
  writer: GraphWriter,
  x: string,
  shape: readonly number[],
): { readonly quantised: string; readonly scale: string } {
  const one = { shape: [...shape.slice(0, -1), 1], type: 'float32' } as const;
  const all = { shape, type: 'float32' } as const;
  const scale = writer.once(`scale of ${x}`, () => {
    const sizes = writer.node('Abs', [x], all);
    const last = writer.constant(BigInt64Array.of(-1n), [1], 'int64');
    const largest = writer.node('ReduceMax', [sizes, last], one, {
      attributes: { keepdims: { kind: 'int', value: 1 } },
    });
    const step = writer.node('Mul', [largest, writer.number(1 / LARGEST)], one);
    return writer.node('Max', [step, writer.number(SMALLEST_SCALE)], one);
  });
  const quantised = writer.once(`quantised ${x}`, () => {
    const divided = writer.node('Div', [x, scale], all);
    const rounded = writer.node('Round', [divided], all);
    const shifted = writer.node('Add', [rounded, writer.number(ZERO)], all);
    return writer.cast(shifted, { shape, type: 'uint8' });
  });
  return { quantised, scale };
}

function storeByColumn(
  writer: GraphWriter,
  { name, rows, columns, data }: Matrix,
): { readonly matrix: string; readonly scale: string } {
  const parts = together(() => quantiseColumns(data(), rows, columns));
  return {
    matrix: writer.store({ name: `${name}.uint8`, shape: [rows, columns], type: 'uint8', data: parts.first }),
    scale: writer.store({
      name: `${name}.column_scale`,
      shape: [columns],
      type: 'float32',
      data: parts.second,
    }),
  };
}

/** [rows, columns] -> 8-bit numbers around 128 and the scale of each column. */
export function quantiseColumns(
  data: Float32Array,
  rows: number,
  columns: number,
): readonly [Uint8Array, Float32Array] {
  const scales = new Float32Array(columns);
  for (let i = 0; i < data.length; i++) {
    const column = i % columns;
    scales[column] = Math.max(scales[column] as number, Math.abs(data[i] as number));
  }
  for (let column = 0; column < columns; column++)
    scales[column] = Math.max((scales[column] as number) / LARGEST, SMALLEST_SCALE);
  const numbers = new Uint8Array(rows * columns);
  for (let i = 0; i < data.length; i++)
    numbers[i] = ZERO + Math.round((data[i] as number) / (scales[i % columns] as number));
  return [numbers, scales];
}

/** [rows, columns] -> 8-bit numbers and the scale of each row. */
export function quantiseRows(
  data: Float32Array,
  rows: number,
  columns: number,
): readonly [Int8Array, Float32Array] {
  const scales = new Float32Array(rows);
  const numbers = new Int8Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    let largest = 0;
    for (let i = start; i < start + columns; i++) largest = Math.max(largest, Math.abs(data[i] as number));
    const scale = Math.max(largest / LARGEST, SMALLEST_SCALE);
    scales[row] = scale;
    for (let i = start; i < start + columns; i++) numbers[i] = Math.round((data[i] as number) / scale);
  }
  return [numbers, scales];
}
