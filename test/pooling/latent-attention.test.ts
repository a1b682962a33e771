import { readFile } from 'node:fs/promises';
import type { Tensor } from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { compile, compileGradient } from '../../src/compiler/compile.js';
import { TensorPool } from '../../src/compiler/pool.js';
import { floats, floatTensor, type HostTensor } from '../../src/compiler/program.js';
import type { Tensors } from '../../src/compiler/trace.js';
import { latentAttentionPooling } from '../../src/pooling/latent-attention.js';
import { meanPooling } from '../../src/pooling/mean.js';
import { poolPacked, poolPadded } from '../../src/pooling/registry.js';
import { poolingSchema, type PoolingConfig } from '../../src/pooling/schema.js';
import { randomise, relativeDifference } from '../training/tiny.js';

interface Golden {
  readonly config: Record<string, unknown>;
  readonly width: number;
  readonly texts: number;
  readonly tokens: number;
  readonly hidden: readonly number[];
  readonly mask: readonly number[];
  readonly parameters: Readonly<
    Record<string, { readonly shape: readonly number[]; readonly values: readonly number[] }>
  >;
  readonly embeddings: readonly number[];
  readonly outputGradient: readonly number[];
  readonly hiddenGradient: readonly number[];
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

const { cases } = JSON.parse(
  await readFile(new URL('../golden/latent-attention/golden.json', import.meta.url), 'utf8'),
) as { readonly cases: readonly Golden[] };

type LatentConfig = Extract<PoolingConfig, { readonly type: 'latentAttention' }>;
const configOf = (golden: Golden): LatentConfig =>
  poolingSchema.parse({ type: 'latentAttention', ...golden.config }) as LatentConfig;

const host = (values: readonly number[], shape: readonly number[]): HostTensor =>
  floatTensor(Float32Array.from(values), shape);
const pool = new TensorPool();

describe.each(cases)('latent attention against PyTorch: $config.feedForward, $config.aggregate', (golden) => {
  const { width, texts, tokens } = golden;
  const pooling = latentAttentionPooling(configOf(golden), width);
  const parameters = Object.fromEntries(
    Object.entries(golden.parameters).map(([name, { values, shape }]) => [name, host(values, shape)]),
  );

  it('has the names and shapes of the release', () => {
    expect(Object.fromEntries(pooling.parameterShapes ?? [])).toEqual(
      Object.fromEntries(Object.entries(golden.parameters).map(([name, { shape }]) => [name, shape])),
    );
  });

  it('embeddings and all gradients, padded', async () => {
    const fn = ({ hidden, mask, ...params }: Tensors): Tensor =>
      poolPadded(pooling, params, { hidden: hidden!, mask: mask! });
    const names = Object.keys(parameters);
    const program = compileGradient(fn, {
      name: 'latent attention',
      pool,
      wrt: ['hidden', ...names],
      policy: 'all',
      threads: 1,
    });
    const inputs = {
      hidden: host(golden.hidden, [texts, tokens, width]),
      mask: host(golden.mask, [texts, tokens]),
      ...parameters,
    };
    const { output, saved } = await program.forward(inputs);
    expect(relativeDifference(floats(output), golden.embeddings)).toBeLessThan(1e-5);
    const gradients = await program.backward(inputs, saved, host(golden.outputGradient, [texts, width]));
    expect(relativeDifference(floats(gradients['hidden']!), golden.hiddenGradient)).toBeLessThan(1e-5);
    for (const name of names)
      expect(relativeDifference(floats(gradients[name]!), golden.gradients[name]!), name).toBeLessThan(1e-5);
    await program.release();
  });

  it('embeddings, packed', async () => {
    const program = compile(
      ({ hidden, membership, ...params }) => ({
        embeddings: poolPacked(pooling, params, { hidden: hidden!, membership: membership! }),
      }),
      { name: 'latent attention', pool, threads: 1 },
    );
    const membership = new Float32Array(texts * texts * tokens);
    for (let n = 0; n < texts; n++)
      membership.set(golden.mask.slice(n * tokens, (n + 1) * tokens), n * texts * tokens + n * tokens);
    const { embeddings } = await program.run({
      hidden: host(golden.hidden, [texts * tokens, width]),
      membership: floatTensor(membership, [texts, texts * tokens]),
      ...parameters,
    });
    expect(relativeDifference(floats(embeddings!), golden.embeddings)).toBeLessThan(1e-5);
    await program.release();
  });
});

it('an untrained latent attention is mean pooling', async () => {
  const config = configOf(cases[0]!);
  const pooling = latentAttentionPooling(config, 6);
  const parameters = Object.fromEntries(
    [...(pooling.initialise?.(5) ?? [])].map(([name, values]) => [
      name,
      floatTensor(values, pooling.parameterShapes?.get(name) ?? []),
    ]),
  );
  const hidden = new Float32Array(3 * 4 * 6);
  randomise([hidden], 1, 1);
  const program = compile(
    ({ hidden: states, mask, ...params }) => ({
      latent: poolPadded(pooling, params, { hidden: states!, mask: mask! }),
      mean: poolPadded(meanPooling(), {}, { hidden: states!, mask: mask! }),
    }),
    { name: 'untrained', pool, threads: 1 },
  );
  const { latent, mean } = await program.run({
    hidden: floatTensor(hidden, [3, 4, 6]),
    mask: host(cases[0]!.mask, [3, 4]),
    ...parameters,
  });
  expect(relativeDifference(floats(latent!), floats(mean!))).toBeLessThan(1e-6);
  // Only the output layers and the biases start at zero: everything else must be able to learn.
  const silent = [...(pooling.initialise?.(5) ?? [])].filter(([, values]) =>
    values.every((value) => value === 0),
  );
  const matrices = silent.map(([name]) => name).filter((name) => !name.endsWith('.bias'));
  expect(matrices.map((name) => name.split('.').slice(-3).join('.'))).toEqual([
    'fn.to_out.weight',
    'net.2.weight',
  ]);
  await program.release();
});
