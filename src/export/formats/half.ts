import { floatToHalf } from '../../models/weights/half.js';
import type { Conversion, GraphWriter, Matrix } from './rewrite.js';

/** Largest finite float16. */
const LARGEST_HALF = 65504;

/**
 * Float16 matrices and products; inputs, outputs and all between the products stay float32 (the residual stream, norms, softmax, pooling),
 * where decoders have numbers of very different sizes.
 *
 * @param inFloat32 products, by their outputs' names, whose inputs or results leave float16: computed in float32, from float16 weights
 */
export function half(inFloat32: ReadonlySet<string> | 'all' = new Set()): Conversion {
  return {
    product: (writer, node, matrix) => {
      const weight = storeHalf(writer, matrix);
      if (weight === undefined) return false;
      const x = node.inputs[0] as string;
      const { output } = node;
      if (inFloat32 === 'all' || inFloat32.has(output.name)) {
        const shape = [matrix.rows, matrix.columns];
        writer.node('MatMul', [x, writer.cast(weight, { shape, type: 'float32' })], output);
      } else {
        const shape = [...output.shape.slice(0, -1), matrix.rows];
        const halved = writer.once(`half ${x}`, () => writer.cast(x, { shape, type: 'float16' }));
        const product = writer.node('MatMul', [halved, weight], { shape: output.shape, type: 'float16' });
        writer.cast(product, output);
      }
      return true;
    },
    lookup: (writer, node, matrix) => {
      const table = storeHalf(writer, matrix);
      if (table === undefined) return false;
      const { output, attributes } = node;
      const found = writer.node(
        'Gather',
        [table, node.inputs[1] as string],
        { shape: output.shape, type: 'float16' },
        { attributes },
      );
      writer.cast(found, output);
      return true;
    },
  };
}

/** Undefined where a weight is too large for float16. */
function storeHalf(writer: GraphWriter, { name, rows, columns, data }: Matrix): string | undefined {
  for (const value of data()) if (!(Math.abs(value) <= LARGEST_HALF)) return undefined;
  return writer.store({
    name: `${name}.half`,
    shape: [rows, columns],
    type: 'float16',
    data: () => floatToHalf(data()),
  });
}
