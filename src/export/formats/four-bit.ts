import { lookupInt8 } from './int8.js';
import { together, type Conversion } from './rewrite.js';

/** Numbers that share a scale. */
const BLOCK = 32;
/** The 4-bit number that stands for zero: 0 to 15 stand for -8 to 7. */
const ZERO = 8;
/** The scale of a block is the best of these shares of the one that leaves nothing out, by the squared error. */
const SHARES = [1, 0.95, 0.9, 0.85, 0.8] as const;

/**
 * 4-bit products: ONNX Runtime's MatMulNBits, blocks of 32 numbers along the inputs with a scale each, symmetric, as transformers.js' own
 * q4 files are. Embedding tables keep 8 bits: a token's vector is an input, not a sum in which errors even out.
 */
export const fourBit: Conversion = {
  product: (writer, node, { name, rows, columns, data }) => {
    const blocks = Math.ceil(rows / BLOCK);
    const parts = together(() => quantiseBlocks(data(), rows, columns));
    const matrix = writer.store({
      name: `${name}.q4`,
      shape: [columns, blocks, BLOCK / 2],
      type: 'uint8',
      data: parts.first,
    });
    const scale = writer.store({
      name: `${name}.block_scale`,
      shape: [columns * blocks],
      type: 'float32',
      data: parts.second,
    });
    const number = (value: number) => ({ kind: 'int', value }) as const;
    writer.node('MatMulNBits', [node.inputs[0] as string, matrix, scale], node.output, {
      domain: 'com.microsoft',
      attributes: { K: number(rows), N: number(columns), bits: number(4), block_size: number(BLOCK) },
    });
    return true;
  },
  lookup: lookupInt8,
};

/** [rows, columns] -> pairs of 4-bit numbers [columns, blocks, 16], the lower half first, and scales [columns, blocks]. */
export function quantiseBlocks(
  data: Float32Array,
  rows: number,
  columns: number,
): readonly [Uint8Array, Float32Array] {
  const blocks = Math.ceil(rows / BLOCK);
  const packed = new Uint8Array(columns * blocks * (BLOCK / 2));
  const scales = new Float32Array(columns * blocks);
  const block = new Float32Array(BLOCK);
  for (let column = 0; column < columns; column++) {
    for (let index = 0; index < blocks; index++) {
      for (let i = 0; i < BLOCK; i++) {
        const row = index * BLOCK + i;
        block[i] = row < rows ? (data[row * columns + column] as number) : 0;
      }
      const at = column * blocks + index;
      const scale = Math.fround(bestScale(block));
      scales[at] = scale;
      for (let i = 0; i < BLOCK; i += 2)
        packed[at * (BLOCK / 2) + i / 2] =
          (step(block[i] as number, scale) + ZERO) | ((step(block[i + 1] as number, scale) + ZERO) << 4);
    }
  }
  return [packed, scales];
}

/** The scale with the least squared error. Its sign is such that the number of largest size stands at -8, where there is one step more. */
function bestScale(block: Float32Array): number {
  let extreme = 0;
  for (const value of block) if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  if (extreme === 0) return 1;
  let best = extreme / -ZERO;
  let least = Infinity;
  for (const share of SHARES) {
    const scale = (share * extreme) / -ZERO;
    let error = 0;
    for (const value of block) error += (value - step(value, scale) * scale) ** 2;
    if (error < least) [best, least] = [scale, error];
  }
  return best;
}

function step(value: number, scale: number): number {
  return Math.min(7, Math.max(-ZERO, Math.round(value / scale)));
}
