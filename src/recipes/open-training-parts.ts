import type { RuntimeOptions } from '../compiler/program.js';
import { chooseRuntime, type ChosenRuntime } from '../compiler/runtime.js';
import { checkAdapterBase } from '../export/adapter.js';
import { initialiseDecoder } from '../models/initialise.js';
import { loadDecoder, type Decoder } from '../models/decoder.js';
import { lacksBiases } from '../models/added-biases.js';
import type { DecoderConfig } from '../models/decoder-config.js';
import { configWithBiases } from '../models/families/index.js';
import { probeAttention, type ProbeResult } from '../models/probe.js';
import type { AttentionMode } from '../models/schema.js';
import { localModel, locateModel, openDecoder } from '../models/weights/index.js';
import type { DecoderSource } from '../models/weights/types.js';
import { chosenLayers } from '../pooling/layers.js';
import { checkAttention } from '../pooling/load-model.js';
import { baseReference, saveTrained, unsaidBiases } from '../pooling/trained-folder.js';
import type { BaseReference } from '../pooling/manifest.js';
import { createPooling } from '../pooling/registry.js';
import { storedPooling } from '../pooling/stored-pooling.js';
import { internalError, userError } from '../shared/errors.js';
import { collectGarbage } from '../shared/garbage.js';
import { assetPath } from '../shared/package.js';
import { checkExamples } from '../training/contrastive-data.js';
import { matryoshkaSizes } from '../training/objectives/contrastive-loss.js';
import { tuningOf } from '../training/schema.js';
import type { CreateStage } from '../training/stage-runner.js';
import { stageFactory } from '../training/stage.js';
import type { StageFactoryOptions } from '../training/stage-options.js';
import { exportEmbedder, shortenedPooling } from './export.js';
import { runRecipe } from './run-recipe.js';
import { hashInputs, type InputFile } from './run-record.js';
import type { RunConfig } from './schema.js';
import type { TrainingParts } from './training-parts.js';
import { loadExamples } from './training-examples.js';
import { loadTrainingTexts, type TrainingTexts } from './training-texts.js';

/** The compiled engine's parts of a training run. */
export async function openTrainingParts(
  config: RunConfig,
  /** In the place of what the configuration asks for: tests emulate halves on the CPU. */
  given?: ChosenRuntime,
): Promise<TrainingParts> {
  const { precision, ...choice } = config.train;
  const runtime = given ?? (await chooseRuntime({ ...choice, computePrecision: precision }));
  // What is written is verified in float32.
  const { computePrecision = 'float32', ...onDevice } = runtime;
  const texts = await loadTrainingTexts(config);
  const examples = await loadExamples(config);
  for (const stage of Object.values(config.stages))
    if (stage.objective === 'contrastive') checkExamples(stage, { exampleSets: examples.sets });
  const { decoder, base, inputs } = await openBase(config, texts);
  const recipe = runRecipe(config, decoder.config.max_position_embeddings);
  const { memory, savePolicy, seed } = config.train;
  checkBiases(config, decoder);
  await checkExport(config, decoder);
  const probes = await probeStages(decoder, config, onDevice);
  let stages: CreateStage | undefined = stageFactory({
    decoder,
    recipe,
    tuning: config.tuning,
    seed,
    ...onDevice,
    computePrecision,
    ...('initialise' in config.model ? {} : { storedPooling: poolingOf(config.model.path) }),
    ...(memory === undefined ? {} : { memory }),
    ...(savePolicy === undefined ? {} : { savePolicy }),
    data: {
      sentences: texts.texts,
      documents: () => texts.documents(),
      characters: texts.characters,
      exampleSets: examples.sets,
    },
    save: (folder, model) =>
      saveTrained(folder, {
        ...model,
        base,
        ...probeOf(probes, model.recipe.attention),
        previous: model.previous.map(({ name, stage, parameters }) => ({
          name,
          tuning: tuningOf(stage, config.tuning),
          parameters,
        })),
      }),
  });
  return {
    inputs: [
      ...inputs,
      ...texts.sources.map(({ name, sha256 }) => ({ path: name, bytes: 0, sha256 })),
      ...examples.inputs,
    ],
    texts: { kept: texts.texts.length, decontaminated: texts.dropped.excluded },
    examples: examples.records,
    createStage: (options) => {
      if (stages === undefined) throw internalError('a stage after the export');
      return stages(options);
    },
    exportEmbedder: (model, output, metrics) => {
      // What is exported is read from its folder: the decoder that was trained makes room for it.
      stages = undefined;
      collectGarbage();
      return exportEmbedder({
        model,
        output,
        metrics,
        ...onDevice,
        overwrite: true,
        formats: config.export.files,
        weights: config.export.weights,
        ...(config.export.dimensions === undefined ? {} : { dimensions: config.export.dimensions }),
        // A float32 file is the model to the last digits.
        ...(config.export.files.every((format) => format === 'float32') ? {} : { evaluate: config.evaluate }),
      });
    },
    close: () => {
      texts.close();
      return Promise.resolve();
    },
  };
}

/** @throws UserError where the model's pooling has other sizes than the run's */
function poolingOf(model: string): NonNullable<StageFactoryOptions['storedPooling']> {
  return async (shapes) => storedPooling(await localModel(model), shapes);
}

/**
 * The future-token probe of every attention that a stage trains with: a model is saved with that of its own recipe.
 * @throws UserError where a stage asks for layers that the decoder does not have
 */
async function probeStages(
  decoder: Decoder,
  { stages, attention, window, pooling }: RunConfig,
  runtime: RuntimeOptions,
): Promise<ProbeResult[]> {
  const layers = decoder.config.num_hidden_layers;
  const modes = new Map<string, AttentionMode>();
  for (const stage of Object.values(stages)) {
    const mode = stage.attention ?? attention;
    checkAttention(mode, decoder.config);
    checkObjective(stage.objective, decoder.config);
    chosenLayers(stage.pooling ?? pooling, layers);
    const { routing, dimensions } = createPooling(stage.pooling ?? pooling, decoder.config);
    if (stage.objective === 'contrastive')
      matryoshkaSizes(stage.matryoshka, dimensions ?? decoder.config.hidden_size);
    if (routing !== undefined)
      throw userError({
        what: 'the routing of experts is read, not trained: no gradient goes through it',
        where: 'pooling.routing',
        hint: 'train without it, then lmvec calibrate or evaluate --method moee-sum',
      });
    modes.set(JSON.stringify(mode), mode);
  }
  const probes: ProbeResult[] = [];
  for (const mode of modes.values()) probes.push(await probeAttention(decoder, mode, { ...runtime, window }));
  return probes;
}

/** @throws UserError where BitFit would add biases that could not be saved. */
function checkBiases({ model, stages, tuning }: RunConfig, { config, rawConfig }: Decoder): void {
  const types = Object.values(stages).map((stage) => tuningOf(stage, tuning).type);
  if (!types.includes('bitfit') || !lacksBiases(config)) return;
  if ('initialise' in model)
    throw userError({
      what: `a ${config.model_type} decoder has no biases that BitFit could train, and a new one no base beside which they could be saved`,
      where: 'tuning.type',
      got: 'bitfit',
      expected: 'full',
    });
  if (types.includes('full') && configWithBiases(rawConfig) === undefined)
    throw unsaidBiases(config.model_type);
}

/** Says before the first step whether the export behind the last one would refuse. @throws UserError */
async function checkExport(
  { model, pooling, stages, export: wanted }: RunConfig,
  decoder: Decoder,
): Promise<void> {
  if (wanted.files.length === 0) return;
  const { dimensions, weights } = wanted;
  if (weights === 'adapter' && !('initialise' in model)) {
    const { base } = await locateModel(model.path);
    for (const stage of Object.values(stages))
      await checkAdapterBase(base, decoder.rawConfig['model_type'], stage.pooling ?? pooling);
  }
  if (dimensions === undefined) return;
  for (const stage of Object.values(stages))
    shortenedPooling(stage.pooling ?? pooling, decoder.config, { dimensions, where: 'export.dimensions' });
}

/** @throws UserError where an encoder is to predict next tokens. */
function checkObjective(objective: string, config: DecoderConfig): void {
  if (config.encoder !== true || (objective !== 'mntp' && objective !== 'causalLm')) return;
  throw userError({
    what: `a ${config.model_type} model is an encoder without a head for next tokens`,
    where: 'objective',
    got: objective,
    expected: 'simcse or contrastive',
  });
}

function probeOf(probes: readonly ProbeResult[], attention: AttentionMode): { readonly probe?: ProbeResult } {
  const probe = probes.find(({ mode }) => JSON.stringify(mode) === JSON.stringify(attention));
  return probe === undefined ? {} : { probe };
}

interface OpenBase {
  readonly decoder: Decoder;
  readonly base: BaseReference;
  readonly inputs: readonly InputFile[];
}

async function openBase({ model, train }: RunConfig, { texts }: TrainingTexts): Promise<OpenBase> {
  if ('initialise' in model) {
    const shape = model.initialise;
    const tokenizer =
      shape.family === 'word2vec' && shape.tokenizer !== 'words'
        ? { tokenizer: await tokenizerOf(shape.tokenizer) }
        : {};
    const decoder = await loadDecoder(initialiseDecoder({ shape, seed: train.seed, texts, ...tokenizer }));
    return { decoder, base: { path: 'none: made from nothing' }, inputs: [] };
  }
  const { base, adapters } = await locateModel(model.path);
  const source = await openDecoder(model.path);
  try {
    const inputs: InputFile[] = [];
    for (const path of [base, ...adapters]) inputs.push(...(await hashInputs(path)));
    const { residentPrecision } = model;
    return {
      decoder: await loadDecoder(source, { residentPrecision }),
      base: await baseReference(model.path),
      inputs,
    };
  } finally {
    await source.weights.close();
  }
}

/** The tokenizer of any decoder. */
async function tokenizerOf(model: string): Promise<DecoderSource['tokenizer']> {
  const source = await openDecoder(model === 'embedded' ? assetPath('tiny') : await localModel(model));
  await source.weights.close();
  return source.tokenizer;
}
