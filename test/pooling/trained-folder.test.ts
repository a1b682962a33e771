import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { initialiseLora } from '../../src/models/lora.js';
import { mergeAdapter } from '../../src/models/merge-adapter.js';
import { valuesOf } from '../../src/models/resident.js';
import { probeAttention } from '../../src/models/probe.js';
import type { TuningConfig } from '../../src/models/schema.js';
import { openDecoder, readAdapter } from '../../src/models/weights/index.js';
import type { EmbeddingRecipe } from '../../src/pooling/embedding-model.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { createPooling } from '../../src/pooling/registry.js';
import {
  baseReference,
  saveTrained,
  type MergedStage,
  type TrainedModel,
} from '../../src/pooling/trained-folder.js';
import { randomStream } from '../../src/shared/random.js';
import { encodeWith, goldenModel, modelWith, temporaryFolders } from '../export/models.js';

const temporary = temporaryFolders();
const lora: TuningConfig = {
  type: 'lora',
  rank: 3,
  alpha: 6,
  dropout: 0.05,
  targetModules: ['q_proj', 'down_proj'],
};
const lineage = [
  { stage: 'mntp', objective: 'mntp', steps: 3, tuning: 'lora' },
  { stage: 'simcse', objective: 'simcse', steps: 2, tuning: 'lora' },
];
const recipe: EmbeddingRecipe = {
  attention: 'bidirectional',
  window: 'keep',
  pooling: { type: 'mean', layer: -1 },
  prompt: 'the "{text}":"',
  maxTokens: 40,
};

function adapter(decoder: TrainedModel['decoder'], seed: number): Map<string, Float32Array> {
  if (lora.type !== 'lora') throw new Error('not reached');
  const random = randomStream(seed);
  return new Map(
    [...initialiseLora(decoder.config, lora, seed)].map(([name, values]) => [
      name,
      values.map(() => 0.1 * random.normal()),
    ]),
  );
}

/** A model after two stages, the first merged. */
async function trained(change: Partial<TrainedModel> = {}): Promise<TrainedModel> {
  const { decoder } = await modelWith({});
  const first: MergedStage = { name: 'mntp', tuning: lora, parameters: adapter(decoder, 1) };
  mergeAdapter(decoder.weights, first.parameters, { rank: 3, alpha: 6, where: 'test' });
  return {
    decoder,
    recipe,
    tuning: lora,
    parameters: adapter(decoder, 2),
    previous: [first],
    lineage,
    base: await baseReference(goldenModel()),
    probe: await probeAttention(decoder, 'bidirectional'),
    ...change,
  };
}

function floats({ decoder }: TrainedModel): Map<string, Float32Array> {
  return new Map([...decoder.weights].map(([name, weight]) => [name, valuesOf(weight)]));
}

/** The weights that the model has once its own adapter is merged too. */
function merged({ decoder, parameters }: TrainedModel): Map<string, Float32Array> {
  const weights = new Map([...decoder.weights].map(([name, values]) => [name, valuesOf(values).slice()]));
  mergeAdapter(weights, parameters, { rank: 3, alpha: 6, where: 'test' });
  return weights;
}

describe('a trained folder', () => {
  it('adapters of all stages, merged in order, give the same weights bit for bit', async () => {
    const model = await trained();
    const folder = await temporary();
    await saveTrained(folder, model);
    expect((await readdir(folder)).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
      'config.json',
      'lmvec.json',
      'previous',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(await readdir(join(folder, 'previous'))).toEqual(['mntp']);
    expect((await readAdapter(folder)).tensors).toEqual(model.parameters);
    const loaded = await loadEmbeddingModel(folder);
    expect(loaded.decoder.weights).toEqual(merged(model));
    expect(loaded.recipe).toEqual(recipe);
    expect(loaded.lineage).toEqual(lineage);
    expect(loaded.manifest?.probe).toEqual(model.probe);
  });

  it('full tuning, and adapters on it, are saved as weights that any loader of decoders opens', async () => {
    const model = await trained();
    const full: MergedStage = {
      name: 'pretrain',
      tuning: { type: 'full' },
      parameters: floats(model),
    };
    const folder = await temporary();
    await saveTrained(folder, { ...model, previous: [full] });
    expect(await readdir(folder)).not.toContain('previous');
    expect((await loadEmbeddingModel(folder)).decoder.weights).toEqual(merged(model));
    const source = await openDecoder(folder);
    expect(source.weights.names).toContain('lm_head.weight');
    await source.weights.close();

    const own = await temporary();
    await saveTrained(own, {
      ...model,
      tuning: { type: 'full' },
      parameters: floats(model),
      previous: [],
    });
    expect((await loadEmbeddingModel(own)).decoder.weights).toEqual(model.decoder.weights);
  });

  it('keeps a trained pooling', async () => {
    const pooling = {
      type: 'latentAttention',
      layer: -1,
      latents: 3,
      heads: 2,
      headDimension: 4,
      feedForward: 'geglu',
      feedForwardMultiple: 2,
      aggregate: 'mean',
    } as const;
    const model = await trained();
    const poolingParameters = createPooling(pooling, { hidden_size: 24, num_hidden_layers: 2 }).initialise!(
      7,
    );
    const parameters = new Map([...model.parameters, ...poolingParameters]);
    const folder = await temporary();
    await saveTrained(folder, { ...model, recipe: { ...recipe, pooling }, parameters });
    const loaded = await loadEmbeddingModel(folder);
    expect(loaded.poolingParameters).toEqual(poolingParameters);
    expect((await encodeWith(loaded)).dimensions).toBe(24);
    // Another pooling can be asked for; this one cannot be asked of a model without it.
    expect((await loadEmbeddingModel(folder, { pooling: 'mean' })).poolingParameters.size).toBe(0);
    await expect(loadEmbeddingModel(goldenModel(), { pooling: 'latentAttention' })).rejects.toThrow(
      /is trained, and this model has none/,
    );
  });
});

describe('what does not fit', () => {
  it('a base model that is gone or another one', async () => {
    const base = await temporary();
    for (const name of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
      await copyFile(join(goldenModel(), name), join(base, name));
    const folder = await temporary();
    await saveTrained(folder, await trained({ base: await baseReference(base) }));
    expect((await loadEmbeddingModel(folder)).decoder.config.hidden_size).toBe(24);
    await copyFile(join(goldenModel('tied'), 'model.safetensors'), join(base, 'model.safetensors'));
    await expect(loadEmbeddingModel(folder)).rejects.toThrow(/not the one that the adapter was trained on/);
    await rm(base, { recursive: true });
    await expect(loadEmbeddingModel(folder)).rejects.toThrow(/base model of the adapter is not found/);
  });

  it('a description that is broken, or leads out of its folder', async () => {
    const folder = await temporary();
    await saveTrained(folder, await trained());
    const path = join(folder, 'lmvec.json');
    const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    for (const broken of [
      { previous: ['../../elsewhere'] },
      { format: 'lmvec 9' },
      { recipe: { attention: 'sideways' } },
    ]) {
      await writeFile(path, JSON.stringify({ ...json, ...broken }));
      await expect(loadEmbeddingModel(folder)).rejects.toThrow(/lmvec.json: broken description of a model/);
    }
  });

  it('recipes that no decoder of this size can have', async () => {
    await expect(loadEmbeddingModel(goldenModel(), { layer: 3 })).rejects.toThrow(
      /no such layer in a decoder of 2/,
    );
    await expect(loadEmbeddingModel(goldenModel(), { attention: { lastLayers: 3 } })).rejects.toThrow(
      /more last layers/,
    );
    await expect(loadEmbeddingModel(goldenModel(), { prompt: 'prompt-eo' })).rejects.toThrow(
      /did you mean prompt-eol/,
    );
    await expect(loadEmbeddingModel(join(await temporary(), 'none'))).rejects.toThrow(/model not found/);
    const empty = join(await temporary(), 'empty');
    await mkdir(empty);
    await expect(loadEmbeddingModel(empty)).rejects.toThrow(/not a model folder/);
  });
});

describe('a bare decoder', () => {
  it('is causal, mean of the last layer; a preset brings its own pooling and layer, which options override', async () => {
    expect((await loadEmbeddingModel(goldenModel())).recipe).toEqual({
      attention: 'causal',
      window: 'keep',
      pooling: { type: 'mean', layer: -1 },
      maxTokens: 64,
    });
    const preset = await loadEmbeddingModel(goldenModel(), { prompt: 'pretended-cot' });
    expect(preset.recipe.pooling).toEqual({ type: 'last', layer: -2 });
    const other = await loadEmbeddingModel(goldenModel(), {
      prompt: 'pretended-cot',
      layer: -1,
      pooling: 'mean',
    });
    expect(other.recipe.pooling).toEqual({ type: 'mean', layer: -1 });
  });
});
