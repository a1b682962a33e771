import { readFile } from 'node:fs/promises';
import { setBackend, tensor, tidy, type Tensor } from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile, compileGradient } from '../../src/compiler/compile.js';
import { TensorPool } from '../../src/compiler/pool.js';
import { floats, floatTensor, type HostTensor } from '../../src/compiler/program.js';
import { savePolicies } from '../../src/compiler/split.js';
import type { Batch, TokenizedText } from '../../src/data/batch.js';
import { packTexts, padTexts } from '../../src/data/packing.js';
import { block } from '../../src/models/block.js';
import { blockPrefix, structureOf } from '../../src/models/decoder-config.js';
import { headName, loadDecoder, type Float32Decoder } from '../../src/models/decoder.js';
import { maskKind, maskName } from '../../src/models/layer-masks.js';
import { lastHiddenState, logits } from '../../src/models/output.js';
import { prelude } from '../../src/models/prelude.js';
import type { Pass } from '../../src/models/runner.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { GradientSink } from '../../src/models/gradient-sink.js';
import type { Tile } from '../../src/models/tiles.js';
import { blockWeightShapes, weightShapes } from '../../src/models/weight-shapes.js';
import { mixtures } from './family-golden.js';
import { openDecoder, openSafetensors } from '../../src/models/weights/index.js';
import type { WeightStore } from '../../src/models/weights/types.js';

interface Golden {
  readonly hiddenLayers: number;
  readonly lengths: readonly number[];
  readonly texts: readonly (readonly number[])[];
  readonly routers: readonly number[];
  readonly lora: { readonly scaling: number };
}

const folder = new URL('../golden/mixtures/', import.meta.url).pathname;
const FINAL_NORM = 'model.norm.weight';
const modes = ['causal', 'bidirectional'] as const;

/** Of a text's vectors, relative to the norm of the reference's. */
function relativeDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += ((actual[i] as number) - (expected[i] as number)) ** 2;
    norm += (expected[i] as number) ** 2;
  }
  return Math.sqrt(difference / norm);
}

async function open(name: string): Promise<Float32Decoder> {
  const source = await openDecoder(`${folder}${name}`);
  const decoder = await loadDecoder(source);
  await source.weights.close();
  return decoder;
}

const pool = new TensorPool();

class Case {
  private constructor(
    readonly decoder: Float32Decoder,
    readonly golden: Golden,
    readonly reference: WeightStore,
  ) {}

  static async open(family: string): Promise<Case> {
    const golden = JSON.parse(await readFile(`${folder}${family}/golden.json`, 'utf8')) as Golden;
    return new Case(
      await open(family),
      golden,
      await openSafetensors(`${folder}${family}/golden.safetensors`),
    );
  }

  get texts(): TokenizedText[] {
    return this.golden.texts.map((ids) => ({
      ids: Int32Array.from(ids),
      pool: new Uint8Array(ids.length).fill(1),
    }));
  }

  /** The last block's output as the last hidden state. */
  norm(): (hidden: HostTensor) => Promise<HostTensor> {
    const { config, weights } = this.decoder;
    const program = compile(
      ({ x, weight }) => ({ hidden: lastHiddenState({ [FINAL_NORM]: weight! }, x!, config) }),
      { name: 'final norm', pool },
    );
    const weight = floatTensor(weights.get(FINAL_NORM)!, [config.hidden_size]);
    return async (x) => (await program.run({ x, weight }))['hidden'] as HostTensor;
  }

  /** What the reference has of a text, [n, width]. */
  async expected(name: string, index: number): Promise<Float32Array> {
    const all = await this.reference.read(name);
    const [, tokens, width] = this.reference.info(name)?.shape as [number, number, number];
    const length = this.golden.lengths[index] as number;
    const first = (index * tokens + (name.startsWith('left.') ? tokens - length : 0)) * width;
    return all.slice(first, first + length * width);
  }
}

/** By text, [n, width]. */
function byText(tile: Tile, values: Float32Array): [number, Float32Array][] {
  const width = values.length / (tile.rows * tile.tokensPerRow);
  return tile.texts.map(({ index, row, start, length }) => {
    const from = (row * tile.tokensPerRow + start) * width;
    return [index, values.slice(from, from + length * width)];
  });
}

describe.each(mixtures)('%s against transformers', (family) => {
  let of: Case;
  let norm: (hidden: HostTensor) => Promise<HostTensor>;
  beforeAll(async () => {
    of = await Case.open(family);
    norm = of.norm();
  });
  afterAll(() => of.reference.close());

  it.each(modes)(
    'hidden states of every layer and router outputs, padded, packed and alone, %s',
    async (mode) => {
      const runner = new DecoderRunner({ decoder: of.decoder, attention: mode, pool });
      const last = of.golden.hiddenLayers - 1;
      const layouts: Record<string, Batch[]> = {
        right: [padTexts(of.texts, 'right')],
        left: [padTexts(of.texts, 'left')],
        packed: packTexts(of.texts, { maxTokens: 16 }),
        alone: of.texts.map((text) => padTexts([text], 'right')),
      };
      for (const [layout, batches] of Object.entries(layouts)) {
        const also = Array.from({ length: last }, (_, layer) => layer);
        const pass = await runner.forward(batches, { keep: false, also, routers: true });
        let firstText = 0;
        for (const tile of pass.tiles) {
          const states = [...tile.also, await norm(tile.hidden)];
          for (const [layer, state] of states.entries()) {
            for (const [index, values] of byText(tile.tile, floats(state))) {
              const text = layout === 'alone' ? firstText : index;
              const name =
                layout === 'left' && layer === last
                  ? `left.${mode}.hidden.${layer}`
                  : `${mode}.hidden.${layer}`;
              expect(
                relativeDifference(values, await of.expected(name, text)),
                `${layout} ${name}`,
              ).toBeLessThan(1e-5);
            }
          }
          expect(tile.routers?.map(({ layer }) => layer)).toEqual(of.golden.routers);
          for (const router of tile.routers ?? []) {
            const probabilities = byText(tile.tile, floats(router.probabilities));
            for (const [at, [index, values]] of byText(tile.tile, floats(router.logits)).entries()) {
              const text = layout === 'alone' ? firstText : index;
              const expected = await of.expected(`${mode}.router.${router.layer}`, text);
              expect(relativeDifference(values, expected)).toBeLessThan(1e-5);
              const experts = router.logits.dims[1] as number;
              expect(relativeDifference(probabilities[at]![1], softmaxRows(expected, experts))).toBeLessThan(
                1e-5,
              );
            }
          }
          firstText += tile.tile.texts.length;
        }
        runner.release(pass);
      }
      await runner.dispose();
    },
  );

  it('logits', async () => {
    const runner = new DecoderRunner({ decoder: of.decoder, attention: 'causal', pool });
    const pass = await runner.forward([padTexts(of.texts, 'right')], { keep: false });
    const { config } = of.decoder;
    const head = compile(({ hidden, weight }) => ({ logits: logits(weight!, hidden!, config) }), {
      name: 'head',
      pool,
    });
    for (const { tile, hidden } of pass.tiles) {
      for (const [index, values] of byText(tile, floats(await norm(hidden)))) {
        const rows = floatTensor(values, [values.length / config.hidden_size, config.hidden_size]);
        const out = await head.run({ hidden: rows, weight: runner.weight(headName(of.decoder)) });
        expect(
          relativeDifference(floats(out['logits'] as HostTensor), await of.expected('causal.logits', index)),
        ).toBeLessThan(1e-5);
      }
    }
    await runner.dispose();
  });

  it('eager: the same functions without a trace', async () => {
    await setBackend('cpu');
    const { config, weights, shapes } = of.decoder;
    const batch = padTexts(of.texts, 'right');
    const choice = { attention: 'bidirectional' } as const;
    const hidden = tidy(() => {
      const asTensor = (name: string): Tensor => tensor(weights.get(name)!, shapes.get(name) as number[]);
      const size = [batch.inputIds.length / batch.tokensPerRow, batch.tokensPerRow];
      const ids = (data: Int32Array): Tensor => tensor(data, size, 'int32');
      const shared = prelude(
        {
          inputIds: ids(batch.inputIds),
          positions: ids(batch.positions),
          segments: ids(batch.segments),
          [config.embedding.weight]: asTensor(config.embedding.weight),
        },
        config,
        choice,
      );
      let x = shared['x'] as Tensor;
      for (let layer = 0; layer < config.num_hidden_layers; layer++) {
        const prefix = blockPrefix(config, layer);
        const names = Object.keys(blockWeightShapes(config, layer));
        const params = Object.fromEntries(names.map((name) => [name, asTensor(prefix + name)]));
        const mask = shared[maskName(maskKind(config, choice, layer))] as Tensor;
        const rotation = { cos: shared['cos:default']!, sin: shared['sin:default']! };
        x = block(
          params,
          { x, mask, rotation, dropout: undefined, adapterScale: 0 },
          structureOf(config, layer),
        );
      }
      return lastHiddenState({ [FINAL_NORM]: asTensor(FINAL_NORM) }, x, config).dataSync() as Float32Array;
    });
    const { tokensPerRow } = batch;
    const width = config.hidden_size;
    for (const [index, length] of of.golden.lengths.entries()) {
      const values = hidden.slice(index * tokensPerRow * width, (index * tokensPerRow + length) * width);
      const expected = await of.expected(`bidirectional.hidden.${of.golden.hiddenLayers - 1}`, index);
      expect(relativeDifference(values, expected)).toBeLessThan(1e-5);
    }
  });
});

function softmaxRows(values: Float32Array, width: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += width) {
    const row = values.slice(start, start + width);
    const exponentials = row.map((value) => Math.exp(value - Math.max(...row)));
    const sum = exponentials.reduce((a, b) => a + b, 0);
    result.set(
      exponentials.map((value) => value / sum),
      start,
    );
  }
  return result;
}

describe('gradients of Qwen2-MoE against PyTorch', () => {
  let of: Case;
  beforeAll(async () => {
    of = await Case.open('qwen2-moe');
  });
  afterAll(() => of.reference.close());

  /** loss = sum(norm(hidden) * W) */
  async function lossGradients(pass: Pass, runner: DecoderRunner): Promise<HostTensor[]> {
    const { config } = of.decoder;
    const program = compileGradient(
      ({ x, weight }) => lastHiddenState({ [FINAL_NORM]: weight! }, x!, config),
      { name: 'norm gradient', pool, wrt: ['x'], policy: 'all' },
    );
    const gradients: HostTensor[] = [];
    for (const { tile, hidden } of pass.tiles) {
      const lossWeights = new Float32Array(tile.rows * tile.tokensPerRow * config.hidden_size);
      for (const { index, row, start } of tile.texts)
        lossWeights.set(
          await of.expected('lossWeights', index),
          (row * tile.tokensPerRow + start) * config.hidden_size,
        );
      const inputs = { x: hidden, weight: runner.weight(FINAL_NORM) };
      const { saved } = await program.forward(inputs);
      const { x } = await program.backward(inputs, saved, floatTensor(lossWeights, hidden.dims));
      gradients.push(x as HostTensor);
    }
    return gradients;
  }

  async function gradientsOf(
    trainable: ReadonlyMap<string, Float32Array>,
    policy: (typeof savePolicies)[number],
    check?: (pass: Pass) => Promise<void>,
  ): Promise<ReadonlyMap<string, Float32Array>> {
    const runner = new DecoderRunner({
      decoder: of.decoder,
      attention: 'bidirectional',
      pool,
      trainable,
      adapterScale: of.golden.lora.scaling,
      policy,
    });
    const pass = await runner.forward(packTexts(of.texts, { maxTokens: 16 }), { keep: true });
    await check?.(pass);
    const sink = new GradientSink();
    await runner.backward(pass, await lossGradients(pass, runner), sink);
    await runner.dispose();
    return sink.gradients;
  }

  it.each(savePolicies)('of every weight of the blocks and the embedding, %s', async (policy) => {
    const { weights, config } = of.decoder;
    const trainable = new Map(
      [...weights].filter(([name]) => name.startsWith(config.blocks) || name === config.embedding.weight),
    );
    const gradients = await gradientsOf(trainable, policy);
    expect(gradients.size).toBe(trainable.size);
    for (const [name, gradient] of gradients)
      expect(relativeDifference(gradient, await of.reference.read(`grad.${name}`)), name).toBeLessThan(1e-4);
  });

  it.each(savePolicies)('of adapters on attention, chosen and shared experts, %s', async (policy) => {
    const names = of.reference.names.filter((name) => name.startsWith('lora.weight.'));
    const trainable = new Map<string, Float32Array>();
    for (const name of names) trainable.set(name.slice('lora.weight.'.length), await of.reference.read(name));
    const norm = of.norm();
    const gradients = await gradientsOf(trainable, policy, async (pass) => {
      for (const { tile, hidden } of pass.tiles)
        for (const [index, values] of byText(tile, floats(await norm(hidden))))
          expect(relativeDifference(values, await of.expected('lora.hidden', index))).toBeLessThan(1e-5);
    });
    expect(gradients.size).toBe(names.length);
    for (const [name, gradient] of gradients)
      expect(relativeDifference(gradient, await of.reference.read(`lora.grad.${name}`)), name).toBeLessThan(
        1e-4,
      );
  });
});

describe('experts in joined tensors, as transformers 5 keeps them', () => {
  it.each(['mixtral', 'qwen2-moe'])('%s: the same weights, from shards', async (family) => {
    const [one, joined] = [await open(family), await open(`${family}/joined`)];
    expect([...joined.weights.keys()]).toEqual([...weightShapes(one.config).keys()]);
    for (const [name, data] of one.weights) expect(joined.weights.get(name), name).toEqual(data);
  });
});
