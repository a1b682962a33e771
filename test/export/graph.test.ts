import { engine } from '@tensorflow/tfjs';
import fc from 'fast-check';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { embedderGraph } from '../../src/export/graph.js';
import { transpose } from '../../src/shared/matrix.js';
import { OnnxEmbedder } from '../../src/export/onnx-embedder.js';
import { writeOnnxFile } from '../../src/export/onnx-file.js';
import { createModelEncoder } from '../../src/pooling/packed-encoder.js';
import { largestDifference, modelWith, temporaryFolders } from './models.js';

const temporary = temporaryFolders();

describe('the exported graph', () => {
  it('gives a text one embedding: alone, in any batch, padded left or right, whatever its pool mask', async () => {
    const model = await modelWith({
      attention: 'bidirectional',
      pooling: { type: 'weightedMean', layer: -1 },
    });
    const path = join(await temporary(), 'model.onnx');
    await writeOnnxFile(path, embedderGraph(model, { kind: 'input' }, []));
    const embedder = await OnnxEmbedder.open(path, { kind: 'input' });
    const encoder = createModelEncoder(model);
    const text = fc
      .array(fc.tuple(fc.nat(71), fc.boolean()), { minLength: 1, maxLength: 40 })
      .map((tokens) => ({
        ids: Int32Array.from(tokens, ([id]) => id),
        pool: Uint8Array.from(tokens, ([, pooled], i) => (pooled || i === 0 ? 1 : 0)),
      }));
    await fc.assert(
      fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 6 }), async (texts) => {
        const expected = await encoder.encodeTokens(texts);
        for (const side of ['left', 'right'] as const)
          expect(largestDifference((await embedder.run(texts, side)).data, expected.data)).toBeLessThan(1e-5);
        const alone = await embedder.run(texts.slice(0, 1), 'right');
        expect(largestDifference(alone.data, expected.data.subarray(0, expected.dimensions))).toBeLessThan(
          1e-5,
        );
      }),
      { numRuns: 30 },
    );
    await embedder.dispose();
    await encoder.dispose();
  });

  it('uses standard operators only, names its axes, and stores each matrix as it is multiplied', async () => {
    const { graph, weights, dimensionNames } = embedderGraph(await modelWith({}), { kind: 'all' }, []);
    expect(graph.nodes.filter(({ domain }) => domain !== '')).toEqual([]);
    const names = new Set(weights.map(({ name }) => name));
    expect(graph.nodes.filter(({ op, inputs }) => op === 'Transpose' && names.has(inputs[0]!))).toEqual([]);
    expect(weights.find(({ name }) => name === 'model.layers.0.mlp.up_proj.weight')?.shape).toEqual([24, 32]);
    // The head makes no embedding.
    expect(names.has('lm_head.weight')).toBe(false);
    const named = Object.fromEntries(
      graph.outputs.map(({ name, shape }) => [
        name,
        shape.map((length) => dimensionNames.get(length) ?? length),
      ]),
    );
    expect(named).toEqual({
      last_hidden_state: ['batch', 'sequence', 24],
      sentence_embedding: ['batch', 24],
    });
  });

  it('leaves no tensor behind', async () => {
    const model = await modelWith({});
    embedderGraph(model, { kind: 'all' }, []);
    const before = engine().memory().numTensors;
    for (let i = 0; i < 3; i++) embedderGraph(model, { kind: 'last' }, []);
    expect(engine().memory().numTensors).toBe(before);
  });
});

it('transposes', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 70 }), (rows, columns) => {
      const data = Float32Array.from({ length: rows * columns }, (_, i) => i);
      const result = transpose(data, rows, columns);
      for (let i = 0; i < data.length; i++)
        expect(result[(i % columns) * rows + Math.floor(i / columns)]).toBe(i);
    }),
    { numRuns: 20 },
  );
});
