import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { openSafetensors, writeSafetensors, type TensorToWrite } from '../../src/models/weights/index.js';
import { recipePreparer } from '../../src/pooling/embedding-model.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { createPooling } from '../../src/pooling/registry.js';
import { poolingSchema } from '../../src/pooling/schema.js';
import { storedPooling } from '../../src/pooling/stored-pooling.js';
import { stageFactory } from '../../src/training/stage.js';
import { bareStage, goldenFolder, lora, randomise, SENTENCES, tinyDecoder } from '../training/tiny.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-nv-embed-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it("a folder laid out as NV-Embed's release: decoder, latent attention and the way to embed from one file", async () => {
  const base = goldenFolder('tied');
  await cp(base, folder, { recursive: true });
  const config = JSON.parse(await readFile(join(base, 'config.json'), 'utf8')) as Record<string, unknown>;
  const latentConfig = {
    model_type: 'latent_attention',
    num_latents_value: 12,
    num_cross_heads: 2,
    cross_dim_head: 6,
    output_normalize: true,
  };
  const wrapped = {
    model_type: 'nvembed',
    add_eos: true,
    is_mask_instruction: true,
    latent_attention_config: latentConfig,
    text_config: { ...config, model_type: `bidir_${String(config['model_type'])}` },
  };
  await writeFile(join(folder, 'config.json'), JSON.stringify(wrapped));
  // As the release has them: to sentence-transformers the model's token states are those behind the latent attention.
  const kinds = ['Transformer', 'Pooling', 'Normalize'];
  const modules = kinds.map((kind, idx) => ({
    ...{ idx, name: String(idx), path: idx === 0 ? '' : `${idx}_${kind}` },
    type: `sentence_transformers.models.${kind}`,
  }));
  await writeFile(join(folder, 'modules.json'), JSON.stringify(modules));
  await mkdir(join(folder, '1_Pooling'));
  await writeFile(join(folder, '1_Pooling', 'config.json'), '{"pooling_mode_mean_tokens": true}');
  await writeFile(join(folder, 'sentence_bert_config.json'), '{"max_seq_length": 40}');
  const plain = await loadEmbeddingModel(base);
  const { hidden_size: width } = plain.decoder.config;
  const sizes = { latents: 12, heads: 2, headDimension: 6 };
  const pooling = poolingSchema.parse({ type: 'latentAttention', ...sizes });
  const shapes = createPooling(pooling, plain.decoder.config).parameterShapes!;
  const store = await openSafetensors(join(base, 'model.safetensors'));
  const tensors: TensorToWrite[] = [];
  for (const name of store.names)
    tensors.push({
      name: name.replace(/^model\./, 'embedding_model.'),
      shape: store.info(name)!.shape,
      storedType: 'F32',
      data: await store.read(name),
    });
  await store.close();
  const latent = new Map(
    [...shapes].map(([name, shape]) => [name, new Float32Array(shape.reduce((a, b) => a * b, 1))]),
  );
  randomise(latent.values(), 5);
  for (const [name, data] of latent)
    tensors.push({ name, shape: shapes.get(name)!, storedType: 'F32', data });
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);

  const model = await loadEmbeddingModel(folder);
  for (const [name, values] of plain.decoder.weights)
    expect(model.decoder.weights.get(name), name).toEqual(values);
  expect(model.poolingParameters).toEqual(latent);
  expect(model.poolingParameters.get('latent_attention_model.latents')).toHaveLength(12 * width);
  expect(model.recipe).toEqual({
    attention: 'bidirectional',
    window: 'drop',
    pooling,
    prompt: { frame: '{text}{eos}', pool: 'all' },
    maxTokens: 40,
  });
  // The end token behind every text; an instruction's tokens are not pooled.
  const tokenizer = createTokenizer(plain.decoder.tokenizer.json, plain.decoder.tokenizer.config);
  const bare = recipePreparer(model.recipe, tokenizer)('a dog');
  expect(bare.ids.at(-1)).toBe(tokenizer.eosTokenId);
  expect(bare.pool).not.toContain(0);
  const instructed = await loadEmbeddingModel(folder, { prompt: 'nv-embed', task: 'the cat' });
  expect(instructed.recipe).toMatchObject({ attention: 'bidirectional', pooling });
  const asked = recipePreparer(instructed.recipe, tokenizer)('a dog');
  expect(tokenizer.decode(asked.ids.filter((_, i) => asked.pool[i] === 1)).trim()).toMatch(/^a dog/);
  expect(asked.pool.at(-1)).toBe(1);
  expect((await loadEmbeddingModel(folder, { pooling: 'mean' })).recipe.pooling.type).toBe('mean');
  await expect(loadEmbeddingModel(base, { pooling: 'latentAttention' })).rejects.toThrow(
    /latentAttention pooling is trained, and this model has none/,
  );
});

it('training goes on from the latent attention that a model came with', async () => {
  const decoder = await tinyDecoder('tied');
  const sizes = { latents: 12, heads: 2, headDimension: 6 };
  const start = (more: Record<string, unknown>) =>
    stageFactory({
      decoder,
      recipe: {
        attention: 'bidirectional',
        window: 'keep',
        pooling: poolingSchema.parse({ type: 'latentAttention', ...sizes, ...more }),
        maxTokens: 32,
      },
      tuning: lora(),
      seed: 1,
      threads: 1,
      data: {
        sentences: SENTENCES,
        documents: () => {
          throw new Error('not read');
        },
      },
      save: () => Promise.resolve(),
      storedPooling: (shapes) => storedPooling(folder, shapes),
    })({
      name: 'simcse',
      stage: bareStage({ objective: 'simcse', batchTexts: 2 }),
      previous: [],
    });
  const stage = await start({ head: { type: 'dense', dimensions: 3 } });
  const { parameters } = stage.state();
  const model = await loadEmbeddingModel(folder);
  for (const [name, values] of model.poolingParameters) expect(parameters.get(name), name).toEqual(values);
  // What the model does not have is fresh.
  expect(parameters.get('head.weight')).toHaveLength(3 * decoder.config.hidden_size);
  await stage.dispose();
  await expect(start({ latents: 13 })).rejects.toThrow(
    /pooling parameter latent_attention_model\.latents does not fit: got \[12, \d+\], expected \[13/,
  );
});
