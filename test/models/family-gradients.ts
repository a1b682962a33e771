import { compileLoss } from '../../src/compiler/compile.js';
import type { Device } from '../../src/compiler/device.js';
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
import { variantFolder, type FamilyGolden } from './family-golden.js';

export type Reference = ReadonlyMap<string, Float32Array>;

export async function referenceOf(variant: string): Promise<Reference> {
  return tensorsOf(`${variantFolder(variant)}/gradients.safetensors`);
}

export async function tensorsOf(path: string): Promise<Reference> {
  const store = await openSafetensors(path);
  const tensors = new Map<string, Float32Array>();
  for (const name of store.names) tensors.set(name, await store.read(name));
  await store.close();
  return tensors;
}

/** Gradients of sum(last hidden state * hiddenWeights) + sum(logits * logitWeights), the latter not of encoders, by the runner's trainable weights. */
export async function gradientsOf(
  golden: FamilyGolden,
  reference: Reference,
  {
    device,
    ...options
  }: Pick<RunnerOptions, 'trainable' | 'adapterScale' | 'computePrecision'> & { readonly device?: Device },
): Promise<ReadonlyMap<string, Float32Array>> {
  const { decoder, tokenized, lengths } = golden;
  const { config } = decoder;
  const pool = new TensorPool(device);
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
  pool.clear();
  return sink.gradients;
}
