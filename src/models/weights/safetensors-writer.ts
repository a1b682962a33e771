import { internalError, userError } from '../../shared/errors.js';
import { writeAtomic } from '../../shared/files.js';
import { floatToBrain, floatToHalf } from './half.js';
import { elementCount, type TensorInfo } from './types.js';

/** A tensor to be written. `data` may be a function, called when its turn comes, so that one tensor at a time is in memory. */
export interface TensorToWrite extends TensorInfo {
  readonly storedType: 'F32' | 'F16' | 'BF16';
  readonly data: Float32Array | (() => Float32Array | Promise<Float32Array>);
}

/**
 * Writes a safetensors file, whole or not at all, one tensor at a time; float16 and bfloat16 are rounded to nearest, ties to even.
 * @throws UserError where a finite value does not fit the stored type.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  // Wider types first keeps every tensor aligned to its element, as the reference implementation does.
  const list = [...tensors].sort((a, b) => width(b) - width(a));
  const header = new Map<string, unknown>([['__metadata__', { format: 'pt', ...metadata }]]);
  let end = 0;
  for (const tensor of list) {
    const count = elementCount(tensor.shape);
    if (count === undefined)
      throw internalError(`tensor ${tensor.name} has shape [${tensor.shape.join(', ')}]`);
    if (header.has(tensor.name)) throw internalError(`tensor ${tensor.name} is written twice`);
    const begin = end;
    end += count * width(tensor);
    header.set(tensor.name, { dtype: tensor.storedType, shape: tensor.shape, data_offsets: [begin, end] });
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)), 'utf8');
  const padded = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  json.copy(padded, 8);
  await writeAtomic(path, async (file) => {
    await file.writeFile(padded);
    for (const tensor of list) {
      const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
      if (data.length !== elementCount(tensor.shape)) {
        throw internalError(
          `tensor ${tensor.name} has ${data.length} values for shape [${tensor.shape.join(', ')}]`,
        );
      }
      await file.writeFile(encode(tensor, data, path));
    }
  });
}

function width(tensor: TensorToWrite): number {
  return tensor.storedType === 'F32' ? 4 : 2;
}

function encode(tensor: TensorToWrite, data: Float32Array, path: string): Uint8Array {
  if (tensor.storedType === 'F32') return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const half = tensor.storedType === 'F16';
  const words = half ? floatToHalf(data) : floatToBrain(data);
  const infinity = half ? 0x7c00 : 0x7f80;
  for (let i = 0; i < words.length; i++) {
    if (((words[i] as number) & 0x7fff) === infinity && Number.isFinite(data[i])) {
      throw userError({
        what: `tensor ${tensor.name} has a value outside the range of ${tensor.storedType}`,
        where: path,
        got: String(data[i]),
        hint: 'store it as F32',
      });
    }
  }
  return new Uint8Array(words.buffer);
}
