import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { valuesOf } from '../../src/models/resident.js';
import { createModelEncoder } from '../../src/pooling/packed-encoder.js';
import { openTrainingParts } from '../../src/recipes/open-training-parts.js';
import { runSchema, type RunConfig } from '../../src/recipes/schema.js';
import { resume, train } from '../../src/recipes/train.js';
import type { OpenTrainingParts } from '../../src/recipes/training-parts.js';
import type { Progress } from '../../src/shared/progress.js';
import { goldenFolder, relativeDifference, SENTENCES } from '../training/tiny.js';

const MNTP_STEPS = 4;
const SIMCSE_STEPS = 4;
let base = '';

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'lmvec-engine-'));
  const texts = Array.from(
    { length: 30 },
    (_, i) => `${SENTENCES[i % 6]!} ${i} ${'then the '.repeat(i % 3)}end`,
  );
  await writeFile(join(base, 'texts.txt'), `${texts.join('\n')}\n`);
  const rows = [
    'score\tsentence1\tsentence2',
    '5\ta cat sat\tthe cat sat',
    '1\tthe dog\tone 42',
    '3\tone mat\tthat mat',
    '0\ta\tzz',
  ];
  await writeFile(join(base, 'pairs.tsv'), `${rows.join('\n')}\n`);
});

function configOf(output: string, overrides: readonly string[] = []): RunConfig {
  const stage = 'batchTexts: 5, maxTokens: 64, learningRate: 1e-2, warmupSteps: 1';
  const text = `{model: ${JSON.stringify(goldenFolder('base'))}, output: ${JSON.stringify(join(base, output))},
    data: {train: ${JSON.stringify(join(base, 'texts.txt'))}},
    tuning: {type: lora, rank: 2, alpha: 4, dropout: 0.1},
    stages: {
      mntp: {objective: mntp, maxSteps: ${MNTP_STEPS}, attentionDropout: 0.1, ${stage}},
      simcse: {objective: simcse, maxSteps: ${SIMCSE_STEPS}, accumulate: 2, ${stage}}},
    evaluate: {tasks: [${JSON.stringify(join(base, 'pairs.tsv'))}], everySteps: 3},
    export: {files: []}, train: {checkpointEverySteps: 2, threads: 1}}`;
  return parseConfig(text, { file: 'run.yaml', overrides: [...overrides], schema: runSchema }).config;
}

/** Aborts after a step of a stage. */
function interruption(at?: { readonly stage: string; readonly step: number }) {
  const controller = new AbortController();
  const progress: Progress = {
    update: ({ stage, step }) => {
      if (stage === at?.stage && step === at.step) controller.abort();
    },
    message: () => undefined,
    end: () => undefined,
  };
  return { progress, signal: controller.signal };
}

/** Bytes of everything that was trained. */
async function weightsOf(folder: string): Promise<Record<string, string>> {
  const files = [
    'last/adapter_model.safetensors',
    'last/previous/mntp/adapter_model.safetensors',
    'best/adapter_model.safetensors',
  ];
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, await readFile(join(folder, file), 'hex')] as const)),
  );
}

async function embeddingsOf(folder: string, texts: readonly string[]): Promise<Float32Array> {
  const encoder = createModelEncoder(await loadEmbeddingModel(folder), { threads: 1 });
  const { data } = await encoder.encode(texts);
  await encoder.dispose();
  return data;
}

async function loadedWeights(model: string): Promise<Map<string, Uint8Array>> {
  const { decoder } = await loadEmbeddingModel(model);
  return new Map(
    [...decoder.weights].map(([name, weight]) => {
      const values = valuesOf(weight);
      return [name, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)];
    }),
  );
}

/** The real parts, noting what the live model says each time it is saved. */
function observed(saved: Map<string, Float32Array>): OpenTrainingParts {
  return async (config) => {
    const parts = await openTrainingParts(config);
    return {
      ...parts,
      createStage: async (options) => {
        const runner = await parts.createStage(options);
        return {
          ...runner,
          save: async (folder) => {
            await runner.save(folder);
            const { data } = await runner.encode(SENTENCES);
            saved.set(folder.includes('best') ? 'best' : 'last', data.slice());
          },
        };
      },
    };
  };
}

it('trains a method by its name: BeLLM', async () => {
  const config = configOf('bellm', [
    'model=embedded',
    'method=bellm',
    'stages={simcse: {objective: simcse, maxSteps: 1, batchTexts: 4, maxTokens: 32, learningRate: 1e-2}}',
  ]);
  await train(config, interruption());
  const { recipe, lineage } = await loadEmbeddingModel(join(config.output, 'last'));
  expect(recipe).toMatchObject({
    attention: { lastLayers: 1 },
    pooling: { type: 'last', layer: -1 },
    prompt: 'bellm',
  });
  expect(lineage).toHaveLength(1);
  const moee = { ...config, output: join(base, 'moee') };
  await expect(
    train({ ...moee, method: 'moee-sum', pooling: { type: 'last', layer: -1, routing: moeeRouting } }),
  ).rejects.toThrow(/no experts to route to/);
  const mixture = new URL('../golden/mixtures/olmoe', import.meta.url).pathname;
  await expect(
    train({
      ...moee,
      model: { ...config.model, path: mixture },
      attention: 'causal',
      pooling: { type: 'last', layer: -1, routing: moeeRouting },
    }),
  ).rejects.toThrow(/is read, not trained/);
});

const moeeRouting = { combine: 'sum', alpha: 1, weights: 'softmax', layers: 'all' } as const;

describe('a run of the real engine: MNTP, then SimCSE', () => {
  const saved = new Map<string, Float32Array>();
  let undisturbed: Record<string, string> = {};
  let folder = '';

  beforeAll(async () => {
    const config = configOf('undisturbed');
    folder = config.output;
    const result = await train(config, { ...interruption(), openParts: observed(saved) });
    expect(result.status).toBe('finished');
    undisturbed = await weightsOf(folder);
  });

  it.each([
    { stage: 'mntp', step: 1 },
    { stage: 'mntp', step: MNTP_STEPS },
    { stage: 'simcse', step: 3 },
  ])('interrupted after step $step of $stage and resumed: the same weights, bit for bit', async (at) => {
    const config = configOf(`${at.stage}-${at.step}`);
    const stopped = await train(config, interruption(at));
    expect(stopped.status).toBe('interrupted');
    const { status } = await resume(config.output, interruption());
    expect(status).toBe('finished');
    expect(await weightsOf(config.output)).toEqual(undisturbed);
  });

  it.each(['float16', 'bfloat16'] as const)(
    'in %s, emulated: interrupted and resumed, the same weights, and others than in float32',
    async (computePrecision) => {
      const runtime = { device: 'cpu', threads: 1, computePrecision } as const;
      const openParts: OpenTrainingParts = (config) => openTrainingParts(config, runtime);
      const settings = [`train.precision=${computePrecision}`];
      const whole = configOf(`${computePrecision}-whole`, settings);
      await train(whole, { ...interruption(), openParts });
      const weights = await weightsOf(whole.output);
      expect(weights).not.toEqual(undisturbed);
      const parts = configOf(`${computePrecision}-parts`, settings);
      await train(parts, { ...interruption({ stage: 'simcse', step: 1 }), openParts });
      expect((await resume(parts.output, { ...interruption(), openParts })).status).toBe('finished');
      expect(await weightsOf(parts.output)).toEqual(weights);
      const metrics = (await readFile(join(parts.output, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n');
      const steps = metrics
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter(({ kind }) => kind === 'step');
      expect(steps).toHaveLength(MNTP_STEPS + SIMCSE_STEPS);
      for (const { lossScale } of steps)
        if (computePrecision === 'bfloat16') expect(lossScale).toBeUndefined();
        else expect(2 ** Math.round(Math.log2(lossScale as number))).toBe(lossScale);
    },
  );

  it('evaluations, log lines and checkpoints, however often, do not change what is learned', async () => {
    const config = configOf('rarely', [
      'evaluate.everySteps=100',
      'train.checkpointEverySteps=100',
      'train.logEverySteps=1',
    ]);
    await train(config, interruption());
    const last = Object.fromEntries(Object.entries(undisturbed).filter(([file]) => file.startsWith('last')));
    expect(await weightsOf(config.output)).toMatchObject(last);
  });

  it('another seed learns something else', async () => {
    const config = configOf('seed', ['train.seed=43']);
    await train(config, interruption());
    expect(await weightsOf(config.output)).not.toEqual(undisturbed);
  });

  it('best/ and last/ give back the model that was saved', async () => {
    expect([...saved.keys()].sort()).toEqual(['best', 'last']);
    for (const [name, live] of saved) {
      const loaded = await embeddingsOf(join(folder, name), SENTENCES);
      const untouched = await embeddingsOf(goldenFolder('base'), SENTENCES);
      // A loaded adapter is merged, a live one is not.
      expect(relativeDifference(loaded, live)).toBeLessThan(1e-5);
      expect(relativeDifference(untouched, live)).toBeGreaterThan(1e-2);
    }
  });

  it('all weights trained: what is loaded again embeds with the same bits', async () => {
    const own = new Map<string, Float32Array>();
    const config = configOf('full', [
      'tuning={type: full}',
      'stages.mntp.learningRate=1e-3',
      'stages.simcse.learningRate=1e-3',
      'attention=causal',
    ]);
    await train(config, { ...interruption(), openParts: observed(own) });
    for (const [name, live] of own)
      expect(await embeddingsOf(join(config.output, name), SENTENCES)).toEqual(live);
  });

  it('biases alone trained: nothing else changes, resumed bit for bit, embedded with the same bits', async () => {
    const own = new Map<string, Float32Array>();
    const model = new URL('../golden/families/gpt2', import.meta.url).pathname;
    const settings = [`model=${model}`, 'tuning={type: bitfit}', 'attention=causal'];
    const config = configOf('bitfit', settings);
    await train(config, { ...interruption(), openParts: observed(own) });
    for (const [name, live] of own)
      expect(await embeddingsOf(join(config.output, name), SENTENCES)).toEqual(live);
    const stopped = configOf('bitfit-stopped', settings);
    await train(stopped, interruption({ stage: 'simcse', step: 1 }));
    await resume(stopped.output, interruption());
    const [trained, resumed] = await Promise.all(
      [config, stopped].map(({ output }) => readFile(join(output, 'last/model.safetensors'), 'hex')),
    );
    expect(resumed).toBe(trained);
    const [before, after] = await Promise.all([model, join(config.output, 'last')].map(loadedWeights));
    const changed = [...before!].filter(([name, values]) => !Buffer.from(values).equals(after!.get(name)!));
    const biases = [...before!.keys()].filter((name) => /^transformer\.h\.\d+\..*\.bias$/.test(name));
    expect(changed.map(([name]) => name).sort()).toEqual(biases.sort());
  });

  it('a decoder without biases gets some, which lie beside its untouched base', async () => {
    const own = new Map<string, Float32Array>();
    const config = configOf('added', ['tuning={type: bitfit}']);
    await train(config, { ...interruption(), openParts: observed(own) });
    const stopped = configOf('added-stopped', ['tuning={type: bitfit}']);
    await train(stopped, interruption({ stage: 'simcse', step: 1 }));
    await resume(stopped.output, interruption());
    const [trained, resumed] = await Promise.all(
      [config, stopped].map(({ output }) => readFile(join(output, 'last/biases.safetensors'), 'hex')),
    );
    expect(resumed).toBe(trained);
    // What other tools would open without the biases is not there.
    const files = await readdir(join(config.output, 'last'));
    expect(files).not.toContain('model.safetensors');
    expect(files).not.toContain('adapter_config.json');
    for (const [name, live] of own)
      expect(await embeddingsOf(join(config.output, name), SENTENCES)).toEqual(live);
    const [before, after] = await Promise.all(
      [goldenFolder('base'), join(config.output, 'last')].map(loadedWeights),
    );
    for (const [name, values] of before!) expect(Buffer.from(values).equals(after!.get(name)!)).toBe(true);
    const added = [...after!.keys()].filter((name) => !before!.has(name));
    expect(added).toHaveLength(2 * 7);
    expect(added.every((name) => /_proj\.bias$/.test(name))).toBe(true);
    for (const name of added) expect(after!.get(name)!.some((byte) => byte !== 0)).toBe(true);
    const { lineage } = await loadEmbeddingModel(join(config.output, 'last'));
    expect(lineage.map(({ tuning }) => tuning)).toEqual(['bitfit', 'bitfit']);
  });

  it.each([
    ['lora', 'bitfit'],
    ['bitfit', 'lora'],
  ])('a stage of %s, then one of %s', async (first, second) => {
    const own = new Map<string, Float32Array>();
    const tuning = (type: string): string =>
      type === 'lora' ? '{type: lora, rank: 2, dropout: 0}' : '{type: bitfit}';
    const config = configOf(`${first}-${second}`, [
      `stages.mntp.tuning=${tuning(first)}`,
      `stages.simcse.tuning=${tuning(second)}`,
      'evaluate.everySteps=100',
    ]);
    await train(config, { ...interruption(), openParts: observed(own) });
    const last = join(config.output, 'last');
    expect(relativeDifference(await embeddingsOf(last, SENTENCES), own.get('last')!)).toBeLessThan(1e-5);
    const stage = first === 'lora' ? 'mntp' : 'simcse';
    expect(await readdir(join(last, 'previous'))).toEqual([stage]);
    expect(await readdir(last)).not.toContain('adapter_config.json');
    const { decoder } = await loadEmbeddingModel(last);
    const bias = decoder.weights.get('model.layers.1.mlp.up_proj.bias')!;
    expect(valuesOf(bias).some((value) => value !== 0)).toBe(true);
  });

  it('added biases among whole weights, where config.json cannot say them', async () => {
    const gemma = new URL('../golden/families/gemma', import.meta.url).pathname;
    const config = configOf('unsaid', [
      `model=${gemma}`,
      'tuning={type: bitfit}',
      'stages.mntp.tuning={type: full}',
    ]);
    await expect(train(config, interruption())).rejects.toThrow(
      /no config.json of a gemma model says that its matrices have biases.*LoRA stages/,
    );
  });

  it('a loss that is not a number stops the run with one sentence and keeps the last good checkpoint', async () => {
    const config = configOf('broken', [
      'stages.mntp.learningRate=1e30',
      'stages.mntp.warmupSteps=0',
      'stages.mntp.clipNorm=null',
      'train.checkpointEverySteps=1',
      'evaluate.everySteps=100',
    ]);
    const error = await train(config, interruption()).catch((reason: unknown) => reason as Error);
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).message).toMatch(
      /^the (loss|gradient norm) of stage mntp became (NaN|Infinity) at step 2[^\n]*$/,
    );
    expect(await readdir(join(config.output, 'checkpoints'))).toEqual(['mntp-step-000001']);
    expect(await readdir(config.output)).not.toContain('last');
  });
});

it('a FLOPS penalty makes a sparse head use fewer numbers', async () => {
  const activeOf = async (output: string, sparsity: string): Promise<number> => {
    const config = configOf(output, [
      'pooling={type: mean, head: {type: sparse, keep: 64, dimensions: 64, gate: relu}}',
      `stages={simcse: {objective: simcse, maxSteps: 30, batchTexts: 5, maxTokens: 64, learningRate: 1e-2${sparsity}}}`,
    ]);
    await train(config, interruption());
    const data = await embeddingsOf(join(config.output, 'last'), SENTENCES);
    return data.filter((value) => value !== 0).length;
  };
  const plain = await activeOf('dense-vectors', '');
  expect(await activeOf('sparse-vectors', ', sparsity: {weight: 20}')).toBeLessThan(0.8 * plain);
});
