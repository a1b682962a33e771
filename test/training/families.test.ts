import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { exportFolder } from '../../src/export/folder.js';
import type { Decoder } from '../../src/models/decoder.js';
import { matrixLayout } from '../../src/models/lora.js';
import { mergeAdapter } from '../../src/models/merge-adapter.js';
import type { AttentionMode } from '../../src/models/schema.js';
import { createModelEncoder } from '../../src/pooling/packed-encoder.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { saveTrained } from '../../src/pooling/trained-folder.js';
import { temporaryFolders } from '../export/models.js';
import { familyDecoder, mixtureFolder, mixtures, variantFolder, variants } from '../models/family-golden.js';
import { bareStage, lora, pooling, relativeDifference, SENTENCES, tinyStage } from './tiny.js';

const temporary = temporaryFolders();
const RECIPE = {
  attention: 'bidirectional' as const,
  window: 'keep' as const,
  pooling: pooling('mean'),
  maxTokens: 30,
};

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Losses of the first and of the last steps of a short training with adapters on every matrix. */
async function train(
  decoder: Decoder,
  options: { readonly objective: string; readonly attention?: AttentionMode; readonly maskToken?: string },
): Promise<{
  readonly first: number;
  readonly last: number;
  readonly parameters: Map<string, Float32Array>;
}> {
  const stage = bareStage({
    maxSteps: 40,
    batchTexts: 6,
    maxTokens: 30,
    learningRate: 1e-2,
    betas: [0.9, 0.999],
    ...options,
  });
  const runner = await tinyStage({
    decoder,
    stage,
    tuning: lora({ rank: 4, alpha: 8 }),
    ...(options.attention === undefined ? {} : { attention: options.attention }),
  });
  const losses: number[] = [];
  for (let step = 0; step < stage.maxSteps; step++) losses.push((await runner.step(step)).loss);
  const parameters = new Map(
    [...runner.state().parameters].map(([name, values]) => [name, values.slice()] as const),
  );
  await runner.dispose();
  return { first: mean(losses.slice(0, 8)), last: mean(losses.slice(-8)), parameters };
}

const models = [
  ...variants.map((name) => [name, variantFolder(name)] as const),
  ...mixtures.map((name) => [name, mixtureFolder(name)] as const),
];

describe.each(models)('%s from training to ONNX', (_, path) => {
  it('MNTP and SimCSE lower their losses; saved, merged and exported it is the same model', async () => {
    const decoder = await familyDecoder(path);
    // An encoder predicts no next tokens.
    if (decoder.config.encoder !== true) {
      const mntp = await train(decoder, { objective: 'mntp', maskToken: '.' });
      expect(mntp.last).toBeLessThan(mntp.first);
    }
    const simcse = await train(decoder, { objective: 'simcse' });
    expect(simcse.last).toBeLessThan(simcse.first);

    const folder = join(await temporary(), 'best');
    await saveTrained(folder, {
      decoder,
      recipe: RECIPE,
      tuning: lora({ rank: 4, alpha: 8 }),
      parameters: simcse.parameters,
      previous: [],
      lineage: [],
      base: { path },
    });
    const loaded = await loadEmbeddingModel(folder);
    const layout = matrixLayout(decoder.config);
    mergeAdapter(decoder.weights, simcse.parameters, { rank: 4, alpha: 8, where: 'test', layout });
    for (const [name, weight] of loaded.decoder.weights) expect(weight).toEqual(decoder.weights.get(name));

    // The export probes the attention, and runs the graph against the model.
    const output = join(await temporary(), 'embedder');
    const { files, probe } = await exportFolder(loaded, output, { threads: 1 });
    expect(probe.passed).toBe(true);
    for (const { verification } of files) expect(verification.largestDifference).toBeLessThan(1e-4);
    const again = await loadEmbeddingModel(output);
    const vectors = await Promise.all(
      [loaded, again].map(async (model) => {
        const encoder = createModelEncoder(model, { threads: 1 });
        return encoder.encode(SENTENCES).finally(() => encoder.dispose());
      }),
    );
    expect(relativeDifference(vectors[1]!.data, vectors[0]!.data)).toBeLessThan(1e-6);
  });
});
