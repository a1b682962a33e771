import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ggmlTypes } from '../../../src/models/weights/ggml-types.js';
import { movedRows, rowsOfHalves } from '../../../src/models/weights/gguf-rows.js';
import { openGguf } from '../../../src/models/weights/gguf.js';
import { openDecoder } from '../../../src/models/weights/index.js';
import { UserError } from '../../../src/shared/errors.js';
import { buildGguf, text, tinyLlama, u32, u64, type GgufSpec } from './gguf-builder.js';

const golden = join(import.meta.dirname, '../../golden');
const models = process.env['LMVEC_MODELS'] ?? join(import.meta.dirname, '../../../../shared/models');
const realModel = join(models, 'SmolLM2-135M-Instruct.Q4_1.gguf');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-gguf-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function fileOf(bytes: Uint8Array): Promise<string> {
  const path = join(folder, 'model.gguf');
  await writeFile(path, bytes);
  return path;
}

describe('dequantisation equals the gguf package', async () => {
  const blocks = JSON.parse(await readFile(join(golden, 'gguf/blocks.json'), 'utf8')) as Record<
    string,
    { bytes: string; values: string }
  >;
  it.each(Object.entries(blocks))('%s', (name, block) => {
    const type = [...ggmlTypes.values()].find((candidate) => candidate.name === name);
    const values = Buffer.from(block.values, 'base64');
    const expected = new Float32Array(new Uint8Array(values).buffer);
    const expanded = new Float32Array(expected.length);
    type?.expand?.(Uint8Array.from(Buffer.from(block.bytes, 'base64')), expanded);
    expect(expanded).toEqual(expected);
  });
});

describe('a Llama as GGUF', () => {
  it('has the weights, names and configuration of the Hugging Face folder that it was made from', async () => {
    const ours = await openDecoder(join(golden, 'gguf/llama.gguf'));
    const theirs = await openDecoder(join(golden, 'llama/base'));
    expect([...ours.weights.names].sort()).toEqual([...theirs.weights.names].sort());
    for (const name of theirs.weights.names) {
      expect(ours.weights.info(name)?.shape).toEqual(theirs.weights.info(name)?.shape);
      expect(await ours.weights.read(name)).toEqual(await theirs.weights.read(name));
    }
    const keys = ['model_type', 'vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'num_key_value_heads',
      'head_dim', 'hidden_act', 'rms_norm_eps', 'rope_parameters', 'attention_bias', 'mlp_bias', 'tie_word_embeddings', 'bos_token_id',
      'eos_token_id', 'max_position_embeddings']; // prettier-ignore
    for (const key of keys) expect([key, ours.config[key]]).toEqual([key, theirs.config[key]]);
    await ours.weights.close();
    await theirs.weights.close();
  });

  it('undoes the row order of llama.cpp for any head size (property)', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 3 }),
        (heads, half, columns) => {
          const original = Float32Array.from({ length: heads * 2 * half * columns }, (_, i) => i);
          const permuted = new Float32Array(original.length);
          for (let row = 0; row < heads * 2 * half; row++) {
            const [head, inside] = [Math.floor(row / (2 * half)), row % (2 * half)];
            const to = head * 2 * half + 2 * (inside % half) + Math.floor(inside / half);
            permuted.set(original.subarray(row * columns, (row + 1) * columns), to * columns);
          }
          const restored = new Float32Array(original.length);
          movedRows(permuted, restored, rowsOfHalves(heads, 2 * half).order());
          expect(restored).toEqual(original);
        },
      ),
    );
  });

  it('reads linear scaling and the factors of Llama 3.1, and refuses other factors', async () => {
    const linear = tinyLlama(['a'], { 'llama.rope.scaling.type': ['llama.rope.scaling.type', 'string', 'linear'],
      'llama.rope.scaling.factor': ['llama.rope.scaling.factor', 'f32', 4] }); // prettier-ignore
    const decoder = await openDecoder(await fileOf(buildGguf(linear)));
    expect(decoder.config['rope_parameters']).toEqual({ rope_type: 'linear', rope_theta: 10000, factor: 4 });
    await decoder.weights.close();

    const plain = tinyLlama(['a'], { 'llama.rope.freq_base': ['llama.rope.freq_base', 'f32', 500000] });
    const spec: GgufSpec = {
      ...plain,
      tensors: [
        ...plain.tensors,
        { name: 'rope_freqs.weight', dimensions: [2], type: 0, offset: plain.dataBytes },
      ],
      dataBytes: plain.dataBytes + 8,
    };
    // Head size 4, theta 500,000: wavelengths 6.28 (kept) and 4,443 (between 8192/4 and 8192: smoothed).
    const wavelength = 2 * Math.PI * Math.sqrt(500000);
    const smooth = (8192 / wavelength - 1) / 3;
    const bytes = buildGguf(spec);
    bytes.writeFloatLE(1, bytes.length - 8);
    bytes.writeFloatLE(1 / ((1 - smooth) / 8 + smooth), bytes.length - 4);
    // The last divisor is not the factor itself where no wavelength is long enough, so it cannot be proved and is refused.
    await expect(openDecoder(await fileOf(bytes))).rejects.toThrow('rope_freqs.weight');
    const long = buildGguf({
      ...spec,
      pairs: spec.pairs.map((pair) => (pair[0] === 'llama.rope.freq_base' ? [pair[0], 'f32', 1e8] : pair)),
    });
    long.writeFloatLE(1, long.length - 8);
    long.writeFloatLE(8, long.length - 4);
    const scaled = await openDecoder(await fileOf(long));
    expect(scaled.config['rope_parameters']).toEqual({ rope_type: 'llama3', rope_theta: 1e8, factor: 8, low_freq_factor: 1, high_freq_factor: 4,
      original_max_position_embeddings: 8192 }); // prettier-ignore
    await scaled.weights.close();
  });
});

describe('broken and hostile files are refused in one sentence', () => {
  const spec = tinyLlama(['a', 'b']);
  const tensor = (index: number, change: object): GgufSpec => ({
    ...spec,
    tensors: spec.tensors.map((entry, i) => (i === index ? { ...entry, ...change } : entry)),
  });
  const header = (count: bigint, pairs: bigint, rest: Buffer[]): Buffer =>
    Buffer.concat([Buffer.from('GGUF'), u32(3), u64(count), u64(pairs), ...rest]);
  const nestedArrays = (depth: number): Buffer[] =>
    Array.from({ length: depth }, () => [u32(9), u64(1)]).flat();
  const cases: readonly [what: string, bytes: Buffer, message: string][] = [
    ['magic', buildGguf({ ...spec, magic: 'GGML' }), 'does not begin with GGUF'],
    ['version', buildGguf({ ...spec, version: 1 }), 'version 1'],
    ['big-endian', buildGguf({ ...spec, version: 0x03000000 }), 'big-endian'],
    ['tensor count', buildGguf({ ...spec, tensorCount: 2 ** 40 }), 'more than its'],
    ['pair count', header(0n, 2n ** 63n, []), '9223372036854775808'],
    ['string length', header(0n, 1n, [u64(2n ** 62n), Buffer.alloc(16)]), 'length of a metadata key'],
    [
      'array count',
      header(0n, 1n, [text('k'), u32(9), u32(4), u64(2n ** 40n), Buffer.alloc(16)]),
      'elements of k',
    ],
    [
      'nested arrays',
      header(0n, 1n, [text('k'), u32(9), ...nestedArrays(8), Buffer.alloc(16)]),
      'nests arrays',
    ],
    ['value type', header(0n, 1n, [text('k'), u32(77), Buffer.alloc(16)]), 'unknown value type 77'],
    ['truncated', buildGguf(spec).subarray(0, 200), 'broken GGUF file'],
    ['data cut', buildGguf(spec).subarray(0, -40), 'past the end'],
    [
      'key twice',
      buildGguf({ ...spec, pairs: [...spec.pairs, ['llama.block_count', 'u32', 1]] }),
      'appears twice',
    ],
    ['tensor twice', buildGguf(tensor(1, { name: 'token_embd.weight' })), 'appears twice'],
    ['overlap', buildGguf(tensor(1, { offset: 0 })), 'overlaps'],
    ['misaligned', buildGguf(tensor(1, { offset: 65 })), 'multiple of 32'],
    ['offset', buildGguf(tensor(1, { offset: 2 ** 50 })), 'past the end'],
    ['shape overflow', buildGguf(tensor(0, { dimensions: [2 ** 40, 2 ** 40] })), 'impossible shape'],
    ['dimensions', buildGguf(tensor(0, { dimensions: [1, 1, 1, 1, 1] })), '5 dimensions'],
    ['part of a block', buildGguf(tensor(0, { type: 8 })), 'impossible shape'],
    ['K-quants', buildGguf(tensor(0, { type: 12 })), 'type Q4_K'],
    ['unknown type', buildGguf(tensor(0, { type: 99 })), 'type 99'],
    [
      'unknown tensor',
      buildGguf(tensor(2, { name: 'blk.0.ffn_gate_inp.weight' })),
      'no place in a llama model: got blk.0.ffn_gate_inp.weight',
    ],
    [
      'architecture',
      buildGguf(tinyLlama(['a'], { 'general.architecture': ['general.architecture', 'string', 'lama'] })),
      'nearest: llama',
    ],
    [
      'missing key',
      buildGguf(tinyLlama(['a'], { 'llama.block_count': undefined })),
      'llama.block_count is missing',
    ],
    [
      'wrong value',
      buildGguf(tinyLlama(['a'], { 'llama.block_count': ['llama.block_count', 'string', 'x'] })),
      'llama.block_count does not fit',
    ],
    [
      'embedding shape',
      buildGguf(tensor(0, { dimensions: [4, 4] })),
      'token_embd.weight has the wrong shape',
    ],
  ];
  it.each(cases)('%s', async (_, bytes, message) => {
    const opened = openDecoder(await fileOf(bytes));
    await expect(opened).rejects.toThrow(message);
    await expect(opened).rejects.toBeInstanceOf(UserError);
  });

  it('never fails otherwise than by a sentence, whatever byte is changed (property)', async () => {
    const whole = buildGguf(spec);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 900 }),
        fc.integer({ min: 0, max: 255 }),
        async (at, value) => {
          const bytes = Buffer.from(whole);
          bytes[at] = value;
          const path = await fileOf(bytes);
          try {
            await (await openDecoder(path)).weights.close();
          } catch (error) {
            expect(error).toBeInstanceOf(UserError);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

it('keeps a leading U+FEFF of a token', async () => {
  const file = await openGguf(await fileOf(buildGguf(tinyLlama(['\uFEFFa', 'a']))));
  expect(file.metadata.get('tokenizer.ggml.tokens')).toEqual(['\uFEFFa', 'a']);
  await file.close();
});

it.skipIf(!existsSync(realModel))(
  'SmolLM2 (skipped without ../shared/models): every tensor finite, some bit for bit as the gguf package expands them',
  async () => {
    const decoder = await openDecoder(realModel);
    const { tensors } = JSON.parse(await readFile(join(golden, 'gguf/smollm.json'), 'utf8')) as {
      tensors: Record<string, { shape: number[]; sha256: string }>;
    };
    for (const [name, { shape, sha256 }] of Object.entries(tensors)) {
      expect(decoder.weights.info(name)?.shape).toEqual(shape);
      const values = await decoder.weights.read(name);
      expect(createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex')).toBe(sha256);
    }
    expect(decoder.weights.names).toHaveLength(272);
    for (const name of decoder.weights.names) {
      expect((await decoder.weights.read(name)).every(Number.isFinite)).toBe(true);
    }
    await decoder.weights.close();
  },
);
