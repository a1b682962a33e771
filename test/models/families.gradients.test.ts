import { describe, expect, it } from 'vitest';
import { compileLoss } from '../../src/compiler/compile.js';
import { TensorPool } from '../../src/compiler/pool.js';
import { floats, floatTensor, type HostTensor } from '../../src/compiler/program.js';
import { packTexts } from '../../src/data/packing.js';
import { headName } from '../../src/models/decoder.js';
import { lastHiddenState, logits } from '../../src/models/output.js';
import type { RunnerOptions } from '../../src/models/runner.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { GradientSink } from '../../src/models/gradient-sink.js';
import { outputShapes } from '../../src/models/weight-shapes.js';
import { openSafetensors } from '../../src/models/weights/index.js';
import { relativeDifference } from '../training/tiny.js';
import { familyGolden, variantFolder, type FamilyGolden } from './family-golden.js';

type Reference = ReadonlyMap<string, Float32Array>;

async function referenceOf(variant: string): Promise<Reference> {
  const store = await openSafetensors(`${variantFolder(variant)}/gradients.safetensors`);
  const tensors = new Map<string, Float32Array>();
  for (const name of store.names) tensors.set(name, await store.read(name));
  await store.close();
  return tensors;
}

/** Gradients of sum(last hidden state * hiddenWeights) + sum(logits * logitWeights), the latter not of encoders, by the runner's trainable weights. */
async function gradientsOf(
  golden: FamilyGolden,
  reference: Reference,
  options: Pick<RunnerOptions, 'trainable' | 'adapterScale'>,
): Promise<ReadonlyMap<string, Float32Array>> {
  const { decoder, tokenized, lengths } = golden;
  const { config } = decoder;
  const pool = new TensorPool();
  const policy = 'matmulOutputs' as const;
  const runner = new DecoderRunner({
    decoder,
    attention: 'bidirectional',
    pool,
    threads: 1,
    policy,
    ...options,
  });
  const head = headName(decoder);
  const names = Object.keys(outputShapes(config));
  const loss = compileLoss(
    (inputs) => {
      const hidden = lastHiddenState(inputs, inputs['x']!, config);
      const [rows, tokens, width] = hidden.shape as [number, number, number];
      const scores = logits(inputs['head']!, hidden.reshape([rows * tokens, width]), config);
      return hidden.mul(inputs['hiddenWeights']!).sum().add(scores.mul(inputs['logitWeights']!).sum());
    },
    { name: 'loss', pool, threads: 1, wrt: ['x', ...names, 'head'] },
  );
  const longest = Math.max(...lengths);
  const sink = new GradientSink();
  const pass = await runner.forward(packTexts(tokenized, { maxTokens: 64 }), { keep: true });
  const hiddenGradients: HostTensor[] = [];
  for (const { tile, hidden } of pass.tiles) {
    const places = tile.rows * tile.tokensPerRow;
    const placed = (name: string, width: number): Float32Array => {
      const data = new Float32Array(places * width);
      const all = reference.get(name);
      if (all === undefined) return data;
      for (const { index, row, start, length } of tile.texts) {
        const from = index * longest * width;
        const values = all.subarray(from, from + length * width);
        data.set(values, (row * tile.tokensPerRow + start) * width);
      }
      return data;
    };
    const width = config.output.width;
    const result = await loss.run({
      x: hidden,
      ...Object.fromEntries(names.map((name) => [name, runner.weight(name)])),
      head: runner.weight(head),
      hiddenWeights: floatTensor(placed('hiddenWeights', width), [tile.rows, tile.tokensPerRow, width]),
      logitWeights: floatTensor(placed('logitWeights', config.vocab_size), [places, config.vocab_size]),
    });
    for (const name of names) sink.add(name, floats(result[`gradient:${name}`]!));
    sink.add(head, floats(result['gradient:head']!));
    hiddenGradients.push(result['gradient:x']!);
  }
  await runner.backward(pass, hiddenGradients, sink);
  await loss.release();
  await runner.dispose();
  return sink.gradients;
}

describe.each(['llama', 'gemma2', 'gpt2', 'bert'])('gradients against PyTorch: %s', (variant) => {
  it('by every weight', async () => {
    const golden = await familyGolden(variant);
    const reference = await referenceOf(variant);
    const trainable = golden.decoder.weights;
    const gradients = await gradientsOf(golden, reference, { trainable });
    expect(gradients.size).toBe(trainable.size);
    for (const [name, gradient] of gradients) {
      // A bias of all keys moves every score of a query alike: its gradient is 0 but for rounding.
      if (name.endsWith('key.bias')) expect(Math.max(...gradient.map(Math.abs)), name).toBeLessThan(1e-4);
      else expect(relativeDifference(gradient, reference.get(`weight.${name}`)!), name).toBeLessThan(1e-3);
    }
  });

  it('by an adapter on every matrix of the blocks', async () => {
    const golden = await familyGolden(variant);
    const reference = await referenceOf(variant);
    const start = 'lora.weight.';
    const trainable = new Map(
      [...reference].flatMap(([name, data]) =>
        name.startsWith(start) ? [[name.slice(start.length), data] as const] : [],
      ),
    );
    const gradients = await gradientsOf(golden, reference, { trainable, adapterScale: 2 });
    for (const name of trainable.keys())
      expect(
        relativeDifference(gradients.get(name)!, reference.get(`lora.grad.${name}`)!),
        name,
      ).toBeLessThan(1e-3);
  });
});
