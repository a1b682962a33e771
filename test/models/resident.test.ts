import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeRandomGguf } from '../../bench/random-models.js';
import { TensorPool } from '../../src/compiler/pool.js';
import { floats, floatTensor } from '../../src/compiler/program.js';
import { packTexts } from '../../src/data/packing.js';
import { loadDecoder, type Decoder } from '../../src/models/decoder.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { GradientSink } from '../../src/models/gradient-sink.js';
import { initialiseLora } from '../../src/models/lora.js';
import { isPacked, piecesOf, valuesOf } from '../../src/models/resident.js';
import type { ResidentPrecision } from '../../src/models/schema.js';
import { storageTypes } from '../../src/models/weights/ggml-types.js';
import { packings } from '../../src/models/weights/packing.js';
import { openDecoder } from '../../src/models/weights/index.js';
import { writeDecoder } from '../../src/models/write-decoder.js';
import { goldenFolder, randomise, randomTexts } from '../training/tiny.js';

const golden = new URL('../golden/', import.meta.url).pathname;

let folder = '';
/** A Llama of two layers whose rows are whole blocks of 32. */
const quantised = (): string => join(folder, 'random.gguf');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-resident-'));
  await writeRandomGguf(quantised(), {
    hidden: 64,
    feedForward: 96,
    layers: 2,
    heads: 4,
    keyHeads: 2,
    vocabulary: 8192,
    context: 128,
  });
});
afterAll(() => rm(folder, { recursive: true }));

async function load(path: string, residentPrecision: ResidentPrecision): Promise<Decoder> {
  const source = await openDecoder(path);
  try {
    return await loadDecoder(source, { residentPrecision });
  } finally {
    await source.weights.close();
  }
}

/** A folder with the weights of another rounded to 16 bits. */
async function rounded(from: string, storedType: 'F16' | 'BF16'): Promise<string> {
  const source = await openDecoder(from);
  const path = await mkdtemp(join(folder, 'rounded-'));
  await writeDecoder(source, path, storedType);
  await source.weights.close();
  return path;
}

/** The same decoder with every weight in float32. */
function expanded(decoder: Decoder): Decoder {
  return {
    ...decoder,
    weights: new Map([...decoder.weights].map(([name, weight]) => [name, valuesOf(weight)])),
  };
}

/** Equal where every bit is. */
function hash({ buffer, byteOffset, byteLength }: Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex');
}

/** Hidden states of some texts and the gradients of adapters, of two layers each. */
async function results(decoder: Decoder): Promise<Record<string, string>> {
  const trainable = initialiseLora(decoder.config, { rank: 2, alpha: 4, targetModules: 'all' }, 1);
  randomise(trainable.values(), 2);
  const runner = new DecoderRunner({
    decoder,
    attention: 'bidirectional',
    pool: new TensorPool(),
    threads: 1,
    trainable,
    adapterScale: 2,
    policy: 'blockInputs',
    tileTokens: 16,
  });
  const texts = randomTexts([9, 3, 12, 5, 7], 3).map(({ ids, pool }) => ({
    ids: ids.map((id) => id % decoder.config.vocab_size),
    pool,
  }));
  const batches = packTexts(texts, { maxTokens: 16 });
  const result: Record<string, string> = {};
  const sink = new GradientSink();
  for (const turn of [1, 2]) {
    const pass = await runner.forward(batches, { keep: true });
    const gradients = pass.tiles.map(({ hidden }, tile) => {
      result[`hidden ${turn} ${tile}`] = hash(floats(hidden));
      return floatTensor(floats(hidden).slice(), hidden.dims);
    });
    await runner.backward(pass, gradients, sink);
  }
  for (const [name, values] of sink.gradients) result[name] = hash(values);
  await runner.dispose();
  return result;
}

const packedNames = (decoder: Decoder): string[] =>
  [...decoder.weights].filter(([, weight]) => isPacked(weight)).map(([name]) => name);

describe('weights as they are stored', () => {
  it.each([
    ['a bfloat16 folder', () => rounded(goldenFolder('base'), 'BF16'), 'BF16'],
    ['a float16 folder with a tied head', () => rounded(goldenFolder('tied'), 'F16'), 'F16'],
    ['experts in tensors of their own', () => rounded(join(golden, 'mixtures/olmoe'), 'BF16'), 'BF16'],
    ['Conv1D weights', () => rounded(join(golden, 'families/gpt2'), 'BF16'), 'BF16'],
    ['an embedding with a projection', () => rounded(join(golden, 'families/opt-350m'), 'F16'), 'F16'],
    ['GGUF blocks', () => Promise.resolve(quantised()), 'Q4_0'],
  ])('give the hidden states and gradients of float32, bit for bit: %s', async (_, path, storedType) => {
    const model = await path();
    const stored = await load(model, 'stored');
    const { config } = stored;
    const packed = packedNames(stored);
    expect(packed).toContain(config.embedding.weight);
    const matrices = [...stored.shapes].filter(
      ([name, shape]) => name.startsWith(config.blocks) && shape.length === 2,
    );
    for (const [name] of matrices) {
      const weight = stored.weights.get(name)!;
      expect(isPacked(weight) && weight.storedType, name).toBe(storedType);
    }
    const plain = await load(model, 'float32');
    expect(packedNames(plain)).toEqual([]);
    for (const [name, weight] of plain.weights)
      expect(hash(valuesOf(stored.weights.get(name)!)), name).toBe(hash(valuesOf(weight)));
    expect(await results(stored)).toEqual(await results(plain));
  });

  it('are a few bytes a value, in memory that threads share', async () => {
    const { weights } = await load(quantised(), 'stored');
    for (const weight of weights.values()) {
      if (!isPacked(weight)) continue;
      expect(weight.bytes.length).toBe((weight.length * 18) / 32);
      expect(weight.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
    }
  });

  it('are the same tensors however a store names, permutes, splits or merges them', async () => {
    const models = [
      join(golden, 'gguf/gpt2.gguf'),
      quantised(),
      await rounded(join(golden, 'mixtures/mixtral'), 'BF16'),
      `${await rounded(goldenFolder('base'), 'BF16')} + ${join(golden, 'llama/base/adapter')}`,
    ];
    let packedTensors = 0;
    for (const model of models) {
      const { weights } = await openDecoder(model);
      for (const name of weights.names) {
        const packed = await weights.readPacked?.(name);
        if (packed === undefined) continue;
        packedTensors += 1;
        expect(hash(valuesOf(packed)), name).toBe(hash(await weights.read(name)));
      }
      await weights.close();
    }
    expect(packedTensors).toBeGreaterThan(60);
  });

  it('that are damaged are refused', async () => {
    const path = join(folder, 'damaged.gguf');
    await writeRandomGguf(path, {
      hidden: 32,
      feedForward: 32,
      layers: 1,
      heads: 1,
      keyHeads: 1,
      vocabulary: 8192,
      context: 8,
    });
    const bytes = await readFile(path);
    // The scale of the last block of the file becomes infinite.
    bytes.set([0x00, 0x7c], bytes.length - 18 - ((32 - ((8192 * 18) % 32)) % 32));
    await writeFile(path, bytes);
    await expect(load(path, 'stored')).rejects.toThrow(/tensor lm_head.weight is damaged/);
  });
});

describe('weights in fewer bits than the file has', () => {
  const tiny = new URL('../../assets/tiny', import.meta.url).pathname;

  it.each([
    // It has 16 bits already.
    ['bfloat16', 'F16', 1e-9],
    ['int8', 'Q8_0', 0.01],
    ['int4', 'Q4_0', 0.12],
  ] as const)('%s are close to the file, and give what they expand to', async (precision, type, bound) => {
    const packed = await load(tiny, precision);
    const plain = await load(tiny, 'float32');
    for (const [name, weight] of packed.weights) {
      const values = valuesOf(weight);
      const reference = valuesOf(plain.weights.get(name)!);
      if (!isPacked(weight)) expect(values).toEqual(reference);
      else {
        expect(weight.storedType, name).toBe(type);
        let [difference, norm] = [0, 0];
        for (const [i, value] of reference.entries()) {
          difference += (value - values[i]!) ** 2;
          norm += value ** 2;
        }
        expect(Math.sqrt(difference / norm), name).toBeLessThan(bound);
      }
    }
    expect(packedNames(packed)).toHaveLength(4 * 7 + 1);
    expect(await results(packed)).toEqual(await results(expanded(packed)));
  });

  it('never more bits, and bfloat16 where rows are not whole blocks', async () => {
    const types = (decoder: Decoder): unknown[] => [
      ...new Set([...decoder.weights.values()].flatMap((w) => (isPacked(w) ? [w.storedType] : []))),
    ];
    expect(types(await load(quantised(), 'int8'))).toEqual(['Q4_0']);
    expect(types(await load(quantised(), 'bfloat16'))).toEqual(['Q4_0']);
    const base = await load(goldenFolder('base'), 'int4');
    for (const [name, weight] of base.weights) {
      const columns = base.shapes.get(name)?.at(-1) ?? 0;
      if (isPacked(weight)) expect(weight.storedType, name).toBe(columns % 32 === 0 ? 'Q4_0' : 'BF16');
    }
    expect(types(base)).toEqual(expect.arrayContaining(['BF16', 'Q4_0']));
  });

  const blocks = JSON.parse(readFileSync(join(golden, 'gguf/quantised.json'), 'utf8')) as {
    values: string;
    Q8_0: string;
    Q4_0: string;
  };
  it.each(['int8', 'int4'] as const)('%s are the blocks of the gguf package', (precision) => {
    const { storedType, blockBytes, pack } = packings[precision];
    const values = new Float32Array(Uint8Array.from(Buffer.from(blocks.values, 'base64')).buffer);
    const target = new Uint8Array((values.length / 32) * blockBytes);
    pack(values, target);
    expect(Buffer.from(target).toString('base64')).toBe(blocks[storedType]);
  });

  it('are off by at most half a step (property)', () => {
    const value = fc.float({ noNaN: true, min: Math.fround(-1e4), max: Math.fround(1e4) });
    fc.assert(
      fc.property(fc.array(value, { minLength: 32, maxLength: 32 }), (list) => {
        const values = Float32Array.from(list);
        const largest = values.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
        for (const [precision, steps] of [
          ['int8', 127],
          ['int4', 8],
        ] as const) {
          const { storedType, blockBytes, pack } = packings[precision];
          const bytes = new Uint8Array(blockBytes);
          pack(values, bytes);
          const back = new Float32Array(32);
          storageTypes.get(storedType)?.expand?.(bytes, back);
          // int4 has no 8: values near the other end may be a whole step off; a float16 scale has an error of its own.
          const step = largest / steps;
          const bound = (precision === 'int8' ? 0.5 : 1) * step + largest * 2 ** -10 + 1e-5;
          back.forEach((one, i) => expect(Math.abs(one - values[i]!)).toBeLessThanOrEqual(bound));
        }
      }),
    );
  });
});

describe('pieces', () => {
  it('are the values in their order', async () => {
    const { weights } = await load(quantised(), 'stored');
    const weight = weights.get('model.embed_tokens.weight')!;
    expect([...piecesOf(weight)].length).toBeGreaterThan(1);
    const values = valuesOf(weight);
    let at = 0;
    for (const piece of piecesOf(weight)) {
      expect(hash(values.subarray(at, at + piece.length))).toBe(hash(piece));
      at += piece.length;
    }
    expect(at).toBe(weight.length);
  });
});
