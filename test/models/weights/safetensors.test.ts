import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { brainToFloat, floatToBrain, floatToHalf, halfToFloat } from '../../../src/models/weights/half.js';
import { openSafetensors, writeSafetensors } from '../../../src/models/weights/index.js';
import { UserError } from '../../../src/shared/errors.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-safetensors-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('16-bit floats', () => {
  const patterns = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

  it('every float16 and bfloat16 that is a number survives the way to float32 and back', () => {
    for (const [expand, round, infinity] of [
      [halfToFloat, floatToHalf, 0x7c00],
      [brainToFloat, floatToBrain, 0x7f80],
    ] as const) {
      const back = round(expand(patterns));
      const numbers = patterns.filter((bits) => (bits & 0x7fff) <= infinity);
      expect(numbers.every((bits) => back[bits] === bits)).toBe(true);
      const again = expand(back);
      expect(patterns.every((bits) => (bits & 0x7fff) <= infinity || Number.isNaN(again[bits]))).toBe(true);
    }
  });

  it('rounds to the nearest value, ties to the even pattern (property)', () => {
    for (const [expand, round] of [
      [halfToFloat, floatToHalf],
      [brainToFloat, floatToBrain],
    ] as const) {
      const values = expand(patterns);
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: 0x7bfe }),
          fc.constantFrom(0, 1, 2, 3, 4),
          fc.boolean(),
          (bits, quarter, negative) => {
            const [below, above] = [values[bits] ?? 0, values[bits + 1] ?? 0];
            const exact = below + ((above - below) * quarter) / 4;
            const value = Math.fround(exact);
            if (value !== exact) return;
            const up = quarter > 2 || (quarter === 2 && bits % 2 === 1);
            const expected = (bits + (up ? 1 : 0)) | (negative ? 0x8000 : 0);
            expect(round(Float32Array.of(negative ? -value : value))[0]).toBe(expected);
          },
        ),
        { numRuns: 2000 },
      );
    }
  });
});

describe('a file written and read again', () => {
  it('gives the tensors rounded to their stored type, their shapes and the metadata (property)', async () => {
    const tensor = fc.record({
      shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }),
      storedType: fc.constantFrom('F32' as const, 'F16' as const, 'BF16' as const),
      seed: fc.float({ min: -60000, max: 60000, noNaN: true }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.oneof(fc.string({ minLength: 1 }), fc.constantFrom('__proto__', '7', 'a"b')), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.array(tensor, { minLength: 4, maxLength: 4 }),
        async (names, specs) => {
          const path = join(folder, 'round.safetensors');
          const tensors = names
            .filter((name) => name !== '__metadata__')
            .map((name, i) => {
              const spec = specs[i] ?? { shape: [], storedType: 'F32' as const, seed: 1 };
              const count = spec.shape.reduce((a, b) => a * b, 1);
              const data = Float32Array.from({ length: count }, (_, k) => spec.seed / (k + 1));
              return { name, shape: spec.shape, storedType: spec.storedType, data };
            });
          await writeSafetensors(path, tensors, { made: 'here' });
          const file = await openSafetensors(path);
          expect(file.metadata['made']).toBe('here');
          expect([...file.names].sort()).toEqual(tensors.map(({ name }) => name).sort());
          for (const { name, shape, storedType, data } of tensors) {
            const rounded = {
              F32: () => data,
              F16: () => halfToFloat(floatToHalf(data)),
              BF16: () => brainToFloat(floatToBrain(data)),
            };
            expect(file.info(name)).toMatchObject({ name, shape, storedType });
            expect(await file.read(name)).toEqual(rounded[storedType]());
          }
          await file.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  it('asks for one tensor at a time, and leaves the old file where one of them fails', async () => {
    const path = join(folder, 'whole.safetensors');
    const order: string[] = [];
    const lazy = (name: string) => ({
      name,
      shape: [2],
      storedType: 'F32' as const,
      data: () => (order.push(name), Promise.resolve(Float32Array.of(1, 2))),
    });
    await writeSafetensors(path, [lazy('a'), lazy('b')]);
    expect(order).toEqual(['a', 'b']);
    const before = await readFile(path);
    const large = { name: 'large', shape: [1], storedType: 'F16' as const, data: Float32Array.of(70000) };
    await expect(writeSafetensors(path, [lazy('a'), large])).rejects.toThrow(
      'tensor large has a value outside the range of F16',
    );
    expect(await readFile(path)).toEqual(before);
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('broken and hostile files are refused in one sentence', () => {
  const raw = (header: string, data = 0, length = BigInt(Buffer.byteLength(header))): Buffer => {
    const start = Buffer.alloc(8);
    start.writeBigUInt64LE(length);
    return Buffer.concat([start, Buffer.from(header), Buffer.alloc(data)]);
  };
  const entry = (dtype: string, shape: unknown, offsets: unknown): string =>
    JSON.stringify({ dtype, shape, data_offsets: offsets });
  const one = (dtype: string, shape: unknown, offsets: unknown, data = 8): Buffer =>
    raw(`{"w":${entry(dtype, shape, offsets)}}`, data);
  const cases: readonly [what: string, bytes: Buffer, message: string][] = [
    ['empty file', Buffer.alloc(0), 'too few for a header'],
    ['header length past the end', raw('{}', 0, 1000n), 'header of 1000 bytes'],
    ['header length of 2^63', raw('{}      ', 0, 2n ** 63n), 'header of 9223372036854775808 bytes'],
    ['not JSON', raw('{"w":'), 'not valid JSON'],
    ['not an object', raw('[1,2,3]'), 'does not start with {'],
    ['not UTF-8', Buffer.concat([raw('', 0, 2n), Buffer.from([0xff, 0xfe])]), 'not UTF-8'],
    ['shape and bytes differ', one('F32', [3], [0, 8]), 'takes 12'],
    ['shape overflow', one('F32', [2 ** 31, 2 ** 31], [0, 8]), 'impossible shape'],
    ['negative size', one('F32', [-2, -1], [0, 8]), 'impossible shape'],
    ['fraction', one('F32', [0.5, 4], [0, 8]), 'impossible shape'],
    ['negative offset', one('F32', [2], [-8, 0]), 'impossible offsets'],
    ['three offsets', one('F32', [2], [0, 8, 8]), 'impossible offsets'],
    ['offsets swapped', one('F32', [2], [8, 0]), 'has -8 bytes'],
    ['past the end', one('F32', [4], [0, 16]), 'its tensors take 16 bytes, the file holds 8'],
    ['a gap', one('F32', [1], [4, 8]), 'begins at byte 4, expected 0'],
    ['left over', one('F32', [1], [0, 4]), 'the file holds 8'],
    [
      'overlap',
      raw(`{"a":${entry('F32', [2], [0, 8])},"b":${entry('F32', [1], [4, 8])}}`, 8),
      'tensor b begins at byte 4, expected 8',
    ],
    ['unknown type', one('F3', [2], [0, 8]), 'unknown type "F3"'],
    ['type of the prototype', one('constructor', [2], [0, 8]), 'unknown type'],
    [
      'name twice',
      raw(`{"w":${entry('F32', [2], [0, 8])},"\\u0077":${entry('F32', [2], [0, 8])}}`, 8),
      'w appears twice',
    ],
    ['metadata', raw('{"__metadata__":{"a":1}}'), '__metadata__ a is not a string'],
  ];
  it.each(cases)('%s', async (_, bytes, message) => {
    const path = join(folder, 'broken.safetensors');
    await writeFile(path, bytes);
    const opened = openSafetensors(path);
    await expect(opened).rejects.toThrow(message);
    await expect(opened).rejects.toBeInstanceOf(UserError);
  });

  it('types that are no weights are listed but not read', async () => {
    const path = join(folder, 'integers.safetensors');
    await writeFile(path, one('I64', [1], [0, 8]));
    const file = await openSafetensors(path);
    expect(file.info('w')?.storedType).toBe('I64');
    await expect(file.read('w')).rejects.toThrow('got type I64, expected F32, F16 or BF16');
    await expect(file.read('v')).rejects.toThrow('tensor v is missing');
    await file.close();
  });
});
