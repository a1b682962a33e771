import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { floats, floatTensor } from '../../src/compiler/program.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { headName, loadDecoder, type Decoder } from '../../src/models/decoder.js';
import { isPacked, valuesOf } from '../../src/models/resident.js';
import { openDecoder } from '../../src/models/weights/index.js';
import { writeDecoder } from '../../src/models/write-decoder.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { saveTrained } from '../../src/pooling/trained-folder.js';
import { PackedHead } from '../../src/training/objectives/packed-head.js';
import { MemoryEstimator } from '../../src/training/memory/estimate.js';
import type { StageConfig } from '../../src/training/schema.js';
import {
  bareStage,
  FULL,
  goldenFolder,
  lora,
  pooling,
  randomise,
  relativeDifference,
  SENTENCES,
  tinyStage,
  type Variant,
} from './tiny.js';

let folder = '';
const paths = new Map<string, string>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-resident-training-'));
  const models = {
    base: goldenFolder('base'),
    tied: goldenFolder('tied'),
    softcap: new URL('../golden/families/gemma2', import.meta.url).pathname,
  };
  for (const [name, path] of Object.entries(models)) {
    const source = await openDecoder(path);
    paths.set(name, join(folder, name));
    await writeDecoder(source, join(folder, name), 'BF16');
    await source.weights.close();
  }
});
afterAll(() => rm(folder, { recursive: true }));

async function load(name: Variant | 'softcap', residentPrecision: 'stored' | 'float32'): Promise<Decoder> {
  const source = await openDecoder(paths.get(name)!);
  try {
    return await loadDecoder(source, { residentPrecision });
  } finally {
    await source.weights.close();
  }
}

/** Losses and parameters of three steps. */
async function trained(
  decoder: Decoder,
  stage: StageConfig,
): Promise<{ losses: number[]; parameters: Map<string, Float32Array>; vectors: Float32Array }> {
  const runner = await tinyStage({ decoder, stage });
  randomise(runner.state().parameters.values(), 4);
  const losses: number[] = [];
  for (const index of [0, 1, 2]) losses.push((await runner.step(index)).loss);
  const { data: vectors } = await runner.encode(SENTENCES);
  const parameters = new Map(runner.state().parameters);
  await runner.dispose();
  return { losses, parameters, vectors };
}

describe('training on weights as they are stored', () => {
  it('SimCSE gives what float32 gives, bit for bit', async () => {
    const stage = bareStage({ attentionDropout: 0.2 });
    const stored = await trained(await load('base', 'stored'), stage);
    expect(stored).toEqual(await trained(await load('base', 'float32'), stage));
    expect(stored.losses[2]).not.toBe(stored.losses[0]);
  });

  it.each([
    ['a head of its own', 'base', 'mntp'],
    ['a tied head', 'tied', 'causalLm'],
    ['capped logits', 'softcap', 'causalLm'],
  ] as const)('predicts tokens in pieces of the head: %s', async (_, name, objective) => {
    const stage = bareStage({ objective, batchTexts: 3, maxTokens: 16, learningRate: 1e-3 });
    const stored = await trained(await load(name, 'stored'), stage);
    const plain = await trained(await load(name, 'float32'), stage);
    stored.losses.forEach((loss, i) => expect(loss).toBeCloseTo(plain.losses[i]!, 5));
    for (const [key, values] of plain.parameters)
      expect(relativeDifference(stored.parameters.get(key)!, values), key).toBeLessThan(1e-4);
  });

  it('pieces of a head give what the whole gives', async () => {
    const decoder = await load('softcap', 'stored');
    const head = decoder.weights.get(headName(decoder))!;
    if (!isPacked(head)) throw new Error('not packed');
    const pool = new TensorPool();
    const runner = new DecoderRunner({ decoder, attention: 'causal', pool, threads: 1 });
    const width = decoder.config.hidden_size;
    const random = new Float32Array(3 * width);
    randomise([random], 3, 1);
    const results = [];
    for (const pieceRows of [7, 1000]) {
      const whole = new PackedHead(head, { decoder, pool, threads: 1, runner, pieceRows });
      const { loss, gradient } = await whole.loss({
        hidden: floatTensor(random.slice(), [3, width]),
        labels: Int32Array.of(0, 33, 8),
        weights: Float32Array.of(0.5, 0.25, 0.25),
      });
      results.push({ loss, gradient: floats(gradient).slice() });
      await whole.dispose();
    }
    expect(results[0]!.loss).toBeCloseTo(results[1]!.loss, 6);
    expect(relativeDifference(results[0]!.gradient, results[1]!.gradient)).toBeLessThan(1e-5);
    await runner.dispose();
  });

  it('an adapter that is merged is added whenever a block is expanded, and saved merged', async () => {
    const stage = bareStage({});
    const tuning = lora();
    const results: Float32Array[] = [];
    for (const precision of ['stored', 'float32'] as const) {
      const decoder = await load('base', precision);
      const first = await tinyStage({ decoder, stage, tuning });
      randomise(first.state().parameters.values(), 5, 0.2);
      const finished = { name: 'first', stage, parameters: structuredClone(first.state().parameters) };
      await first.dispose();
      const second = await tinyStage({ decoder, stage, tuning, previous: [finished] });
      expect([...decoder.weights.values()].some(isPacked)).toBe(precision === 'stored');
      results.push((await second.encode(SENTENCES)).data);
      const output = join(folder, `saved-${precision}`);
      await saveTrained(output, {
        decoder,
        recipe: {
          attention: 'bidirectional',
          window: 'keep',
          pooling: pooling('mean'),
          maxTokens: 64,
        },
        tuning,
        parameters: second.state().parameters,
        previous: [{ name: 'first', tuning: FULL, parameters: new Map() }],
        lineage: [],
        base: { path: paths.get('base')! },
      });
      await second.dispose();
    }
    expect(results[0]).toEqual(results[1]);
    const [stored, plain] = await Promise.all(
      ['stored', 'float32'].map((name) => loadEmbeddingModel(join(folder, `saved-${name}`))),
    );
    for (const [name, weight] of plain!.decoder.weights)
      expect(valuesOf(stored!.decoder.weights.get(name)!), name).toEqual(valuesOf(weight));
  });

  it('full tuning is refused', async () => {
    const decoder = await load('base', 'stored');
    await expect(tinyStage({ decoder, stage: bareStage({}), tuning: FULL })).rejects.toThrow(
      /residentPrecision: weights of the decoder itself are trained in float32/,
    );
  });

  it('the memory estimate counts packed weights once and an expanded block for every copy', async () => {
    const of = async (precision: 'stored' | 'float32', copies: number): Promise<number> => {
      const decoder = await load('base', precision);
      const stage = bareStage({});
      const recipe = {
        attention: 'bidirectional',
        window: 'keep',
        pooling: pooling('mean'),
        maxTokens: 64,
      } as const;
      const sizing = { decoder, tuning: lora(), stage, recipe, lengths: [8], threads: 1 };
      return new MemoryEstimator(sizing).parts({ policy: 'blockInputs', copies }).weights;
    };
    const decoder = await load('base', 'stored');
    const bytes = (wanted: (name: string) => boolean): number =>
      [...decoder.weights].reduce(
        (sum, [name, weight]) => sum + (isPacked(weight) && wanted(name) ? 4 * weight.length : 0),
        0,
      );
    const block = bytes((name) => name.startsWith('model.layers.0.'));
    const packed = bytes(() => true);
    expect((await of('float32', 1)) - (await of('stored', 1))).toBe(packed / 2 - block);
    expect((await of('float32', 2)) - (await of('stored', 2))).toBe(2 * packed - packed / 2 - 2 * block);
  });
});
