import fc from 'fast-check';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { embedderGraph } from '../../src/export/graph.js';
import { OnnxEmbedder } from '../../src/export/onnx-embedder.js';
import { writeOnnxFile } from '../../src/export/onnx-file.js';
import { chosenLayers } from '../../src/pooling/layers.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { createModelEncoder, type Embeddings } from '../../src/pooling/packed-encoder.js';
import { poolingSchema, type LayerChoice, type PoolingConfig } from '../../src/pooling/schema.js';
import { goldenModel, largestDifference, modelWith, temporaryFolders, texts } from '../export/models.js';

const temporary = temporaryFolders();

async function embeddings(pooling: PoolingConfig, shares?: Float32Array): Promise<Embeddings> {
  const model = await modelWith({ pooling });
  if (shares !== undefined) model.poolingParameters.get('layer_mix.weight')!.set(shares);
  const encoder = createModelEncoder(model, { threads: 1 });
  try {
    return await encoder.encode(texts, { normalise: false });
  } finally {
    await encoder.dispose();
  }
}

const mean = (layer: LayerChoice): PoolingConfig => poolingSchema.parse({ type: 'mean', layer });

describe('layers', () => {
  it('the average of several is the average of their embeddings', async () => {
    const single: Embeddings[] = [];
    for (const layer of [0, 1, 2]) single.push(await embeddings(mean(layer)));
    for (const [choice, depths] of [
      [
        [0, -1],
        [0, 2],
      ],
      [
        [1, -2, 2],
        [1, 1, 2],
      ],
      [
        [-1, 0, 1],
        [2, 0, 1],
      ],
    ] as const) {
      const expected = single[0]!.data.map(
        (_, i) => depths.reduce<number>((sum, depth) => sum + single[depth]!.data[i]!, 0) / depths.length,
      );
      expect(largestDifference((await embeddings(mean(choice))).data, expected)).toBeLessThan(1e-5);
    }
  });

  it('a learned mix weighs them by the softmax of its parameters', async () => {
    const shares = Float32Array.of(0.5, -1, 2);
    const exps = shares.map((value) => Math.exp(value));
    const sum = exps.reduce((a, b) => a + b, 0);
    const single: Embeddings[] = [];
    for (const layer of [0, 1, 2]) single.push(await embeddings(mean(layer)));
    const expected = single[0]!.data.map((_, i) =>
      single.reduce((total, one, depth) => total + (exps[depth]! / sum) * one.data[i]!, 0),
    );
    const mixed = await embeddings(mean({ learned: 'all' }), shares);
    expect(largestDifference(mixed.data, expected)).toBeLessThan(1e-5);
  });

  it('are counted from either end', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(40), fc.nat(40), (layers, a, b) => {
        fc.pre(a <= layers && b <= layers);
        const chosen = chosenLayers({ layer: [a - layers - 1, b] }, layers);
        expect(chosen.depths).toEqual([a, b]);
        expect(chosen.blocks).toBe(Math.max(a, b));
        expect(chosen.also).toEqual(a === b ? [] : [Math.min(a, b)]);
        expect(chosen.normed).toBe(Math.max(a, b) === layers);
      }),
    );
  });

  it('that do not exist are one sentence', async () => {
    await expect(loadEmbeddingModel(goldenModel(), { layer: [0, 3] })).rejects.toThrow(
      /pooling\.layer: no such layer in a decoder of 2: got 3, expected -3 to 2/,
    );
  });

  it('and heads that need training are refused on a bare decoder', async () => {
    await expect(loadEmbeddingModel(goldenModel(), { layer: { learned: 'all' } })).rejects.toThrow(
      /a learned mix of layers is trained, and this model has none/,
    );
  });
});

describe('an exported graph gives the same', () => {
  const poolings: readonly [string, Record<string, unknown>][] = [
    ['average of layers', { type: 'mean', layer: [0, -1] }],
    ['learned mix', { type: 'last', layer: { learned: [0, 2] } }],
    ['tuner over two layers', { type: 'lmort', layer: [1, -1], blocks: 2, heads: 2 }],
    ['tuner, last token', { type: 'lmort', layer: [-1, 0], blocks: 1, heads: 3, aggregate: 'last' }],
    ['dense head', { type: 'mean', head: { type: 'dense', dimensions: 7, activation: 'tanh' } }],
    ['truncated', { type: 'weightedMean', head: { type: 'truncate', dimensions: 5 } }],
    ['sparse head', { type: 'mean', head: { type: 'sparse', dimensions: 40, keep: 6 } }],
    ['sparse with signs', { type: 'mean', head: { type: 'sparse', keep: 4, gate: 'none' } }],
  ];

  it.each(poolings)('%s', async (_, config) => {
    const model = await modelWith({ pooling: poolingSchema.parse(config) });
    const path = join(await temporary(), 'model.onnx');
    await writeOnnxFile(path, embedderGraph(model, { kind: 'all' }, []));
    const encoder = createModelEncoder(model, { threads: 1 });
    const embedder = await OnnxEmbedder.open(path, { kind: 'all' });
    try {
      const tokens = [1, 4, 9].map((length) => ({
        ids: Int32Array.from({ length }, (_, i) => (7 * i + length) % 72),
        pool: new Uint8Array(length).fill(1),
      }));
      const expected = await encoder.encodeTokens(tokens);
      for (const side of ['left', 'right'] as const) {
        const actual = await embedder.run(tokens, side);
        expect(actual.dimensions).toBe(expected.dimensions);
        expect(largestDifference(actual.data, expected.data)).toBeLessThan(1e-5);
      }
      const head = model.recipe.pooling.head;
      if (head?.type === 'sparse')
        for (let row = 0; row < expected.rows; row++)
          expect(
            expected.data
              .subarray(row * expected.dimensions, (row + 1) * expected.dimensions)
              .filter((value) => value !== 0).length,
          ).toBeLessThanOrEqual(head.keep);
    } finally {
      await embedder.dispose();
      await encoder.dispose();
    }
  });
});
