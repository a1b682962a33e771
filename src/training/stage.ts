import type { Device } from '../compiler/device.js';
import { floatTensor } from '../compiler/program.js';
import { TensorPool } from '../compiler/pool.js';
import type { SavePolicy } from '../compiler/split.js';
import { checkTokenizerFits, createTokenizer, type TextTokenizer } from '../data/tokenizer.js';
import type { TextList } from '../data/text-list.js';
import { chosenChunks } from '../data/token-chunks.js';
import { positionLimit } from '../models/decoder-config.js';
import { parameterCounts, type Decoder } from '../models/decoder.js';
import { initialiseLora, matrixLayout } from '../models/lora.js';
import { mergeInto } from '../models/merge-adapter.js';
import { createRunner } from '../models/parallel-runner.js';
import { isPacked } from '../models/resident.js';
import type { Runner } from '../models/runner.js';
import { GradientSink } from '../models/gradient-sink.js';
import type { DropoutContext } from '../models/block-masks.js';
import type { TuningConfig } from '../models/schema.js';
import { biasNames } from '../models/weight-shapes.js';
import {
  recipePreparer,
  withPrompt,
  type EmbeddingRecipe,
  type LineageStep,
} from '../pooling/embedding-model.js';
import { normaliseRows, PackedEncoder } from '../pooling/packed-encoder.js';
import { createPooling } from '../pooling/registry.js';
import { assertNever, internalError, userError } from '../shared/errors.js';
import { hashKey, hashString } from '../shared/random.js';
import { learningRateAt } from './learning-rate.js';
import { planMemory } from './memory/plan.js';
import { contrastiveData, exampleLengths, type TrainingExamples } from './contrastive-data.js';
import { gradCacheStep } from './grad-cache.js';
import { contrastive } from './objectives/contrastive.js';
import type { Objective, ObjectiveBatch, ObjectiveContext } from './objectives/objective.js';
import { simcse } from './objectives/simcse.js';
import { causalLm, mntp } from './objectives/token-prediction.js';
import { AdamW, globalNorm } from './optimizer.js';
import { tuningOf, type DecoderStageConfig, type StageConfig, type Word2VecStageConfig } from './schema.js';
import type { CreateStage, FinishedStage, StageRunner, TrainingState } from './stage-runner.js';
import { createWord2VecStage } from './word2vec/stage.js';

/** What all stages of a run share. */
export interface StageFactoryOptions {
  readonly decoder: Decoder;
  /** The run's own; a stage may override parts. */
  readonly recipe: EmbeddingRecipe;
  readonly tuning: TuningConfig;
  readonly seed: number;
  readonly threads?: number;
  readonly device?: Device;
  /** Bytes; the fastest save policy that fits is taken. */
  readonly memory?: number;
  readonly savePolicy?: SavePolicy;
  readonly data: TrainingData;
  /** In place of the stage's own objective over `data`: batches that are given, as the bench has them. */
  createObjective?(stage: DecoderStageConfig, context: ObjectiveContext): Objective;
  /** Fills a folder with the model as it is now. */
  save(folder: string, model: StageModel): Promise<void>;
}

export interface TrainingData {
  readonly sentences: TextList;
  /** The same texts line by line, an empty line after each document. */
  documents(): AsyncIterable<string>;
  /** Of all documents; where it is left out, all of them are tokenised, however many there are. */
  readonly characters?: number;
  /** By name, for contrastive stages. */
  readonly exampleSets?: ReadonlyMap<string, TrainingExamples>;
}

/** A stage's model, for saving. */
export interface StageModel {
  readonly decoder: Decoder;
  readonly recipe: EmbeddingRecipe;
  readonly tuning: TuningConfig;
  /** Trained parameters of this stage. */
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly previous: readonly FinishedStage[];
  readonly lineage: readonly LineageStep[];
}

/** Makes the stages of a run, one after the other, on one decoder: each merges what the one before has learned. */
export function stageFactory(options: StageFactoryOptions): CreateStage {
  const merged = new Set<string>();
  const { decoder } = options;
  const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
  checkTokenizerFits(tokenizer, decoder.config.vocab_size);
  return async ({ name, stage, previous }) => {
    for (const finished of previous) {
      if (merged.has(finished.name)) continue;
      mergeStage(decoder, finished, options.tuning);
      merged.add(finished.name);
    }
    if (stage.objective === 'word2vec')
      return word2vecStage({ ...options, name, stage, previous, tokenizer });
    return createStage({ ...options, name, stage, previous, tokenizer });
  };
}

/** Adds a finished stage's adapter to the decoder's weights, or puts fully tuned weights in their place. */
function mergeStage(decoder: Decoder, { stage, parameters }: FinishedStage, runTuning: TuningConfig): void {
  const tuning = tuningOf(stage, runTuning);
  for (const [name, values] of parameters) {
    const weight = decoder.weights.get(name);
    if (weight !== undefined && weight !== values) {
      if (isPacked(weight)) throw internalError(`${name} was trained, and is packed`);
      weight.set(values);
    }
    if (tuning.type !== 'lora' || !name.endsWith('.lora_A.weight')) continue;
    const base = name.slice(0, -'.lora_A.weight'.length);
    const b = parameters.get(`${base}.lora_B.weight`);
    const target = decoder.weights.get(`${base}.weight`);
    if (b === undefined || target === undefined)
      throw userError({ what: `the adapter of ${base} is not whole` });
    mergeInto(target, {
      a: values,
      b,
      rank: tuning.rank,
      scale: tuning.alpha / tuning.rank,
      layout: matrixLayout(decoder.config),
    });
  }
}

/** A stage that trains word vectors saves the run's own way to embed. */
function word2vecStage(
  options: Omit<CreateOptions, 'stage'> & { readonly stage: Word2VecStageConfig },
): StageRunner {
  const { decoder, recipe, previous, stage } = options;
  const tuning = tuningOf(stage, options.tuning);
  const lineage = lineageOf(previous, options, options.tuning);
  return createWord2VecStage({
    ...options,
    sentences: options.data.sentences,
    save: (folder, parameters) =>
      options.save(folder, { decoder, recipe, tuning, parameters, previous, lineage }),
  });
}

interface CreateOptions extends StageFactoryOptions {
  readonly name: string;
  readonly stage: DecoderStageConfig;
  readonly previous: readonly FinishedStage[];
  readonly tokenizer: TextTokenizer;
}

/** A stage whose texts are no longer than the decoder has positions. */
function withinPositions(stage: DecoderStageConfig, { config }: Decoder): DecoderStageConfig {
  const limit = positionLimit(config);
  return stage.maxTokens <= limit ? stage : { ...stage, maxTokens: limit };
}

/** What is saved would go from another device to this process's memory and back: to compute it again is faster (measured on CUDA). */
function leastMoved(device: Device): SavePolicy | undefined {
  return device === 'cpu' ? undefined : 'blockInputs';
}

async function createStage(options: CreateOptions): Promise<StageRunner> {
  const { decoder, previous, tokenizer, threads } = options;
  const stage = withinPositions(options.stage, decoder);
  const seed = hashKey(options.seed, hashString(options.name));
  const tuning = stage.tuning ?? options.tuning;
  const recipe = stageRecipe(options.recipe, stage);
  const pool = new TensorPool(options.device);
  const runtime = threads === undefined ? {} : { threads };
  const adapters = trainedWeights(decoder, tuning, seed);
  const pooling = createPooling(recipe.pooling, decoder.config);
  const poolingParameters = inheritedPooling(
    pooling.initialise?.(seed) ?? new Map<string, Float32Array>(),
    previous,
  );
  if ((pooling.statisticShapes?.size ?? 0) > 0)
    throw userError({
      what: 'vectors are standardised after training, not before',
      where: 'pooling.standardise',
      hint: 'calibrate the trained model: lmvec calibrate',
    });
  const parameters = new Map([...adapters, ...poolingParameters]);
  if (parameters.size === 0)
    throw userError({
      what: `stage ${options.name} trains nothing`,
      where: `stages.${options.name}`,
      got: 'tuning none, and a pooling without parameters',
      expected: 'a pooling, a mix of layers or a head that is trained',
    });
  const poolingTensors = Object.fromEntries(
    [...poolingParameters].map(([name, data]) => [
      name,
      floatTensor(data, pooling.parameterShapes?.get(name) ?? []),
    ]),
  );
  const lengths = textLengths(options, recipe);
  // On another device one thread hands out the work.
  const sizing = {
    decoder,
    tuning,
    stage,
    recipe,
    lengths,
    threads: pool.device === 'cpu' ? (threads ?? 1) : 1,
  };
  const plan = planMemory(sizing, {
    budget: options.memory,
    policy: stage.savePolicy ?? options.savePolicy ?? leastMoved(pool.device),
  });
  const runner = createRunner({
    decoder,
    attention: recipe.attention,
    window: recipe.window,
    pool,
    ...runtime,
    trainable: adapters,
    policy: plan.policy,
    copies: plan.copies,
    attentionDropout: stage.attentionDropout,
    ...(tuning.type === 'lora'
      ? { adapterScale: tuning.alpha / tuning.rank, adapterDropout: tuning.dropout }
      : {}),
  });
  const outside = [...parameters.keys()].filter((name) => !name.startsWith(decoder.config.blocks));
  const context: ObjectiveContext = {
    decoder,
    tokenizer,
    recipe,
    runner,
    pool,
    seed,
    trained: new Set(outside),
    poolingTensors,
    ...runtime,
  };
  const objective =
    options.createObjective?.(stage, context) ??
    (await createObjective(stage, { context, data: options.data }));
  const decaying = new Set([...parameters].filter(([name]) => isMatrix(name, decoder)).map(([name]) => name));
  const optimizer = new AdamW(parameters, decaying, stage);
  const sink = new GradientSink();
  // What is evaluated is what is saved: the stage's own way to embed, of texts as long as the run's model takes.
  const used = { ...recipe, maxTokens: options.recipe.maxTokens };
  const encoder = new PackedEncoder({
    runner,
    model: { decoder, recipe: used },
    poolingTensors,
    pool,
    ...runtime,
  });
  const prepare = recipePreparer(used, tokenizer);

  return {
    state: () => ({ parameters, optimizer: optimizer.state() }),
    restore: (state) => {
      restoreParameters(parameters, state);
      optimizer.restore(state.optimizer);
      runner.parametersChanged();
    },
    step: async (index) => {
      sink.clear();
      let loss = 0;
      let tokens = 0;
      let multipliedTokens = 0;
      for (let micro = 0; micro < stage.accumulate; micro++) {
        const number = index * stage.accumulate + micro;
        const batch = objective.batch(number);
        const dropout = { seed, step: number };
        loss += (await gradients({ runner, objective, batch, dropout, sink })) / stage.accumulate;
        tokens += batch.tokens;
        for (const { rows, tokensPerRow } of batch.batches) multipliedTokens += rows * tokensPerRow;
      }
      const gradientNorm = globalNorm(sink.gradients.values()) / stage.accumulate;
      const learningRate = learningRateAt(index, stage);
      if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) {
        const clip = stage.clipNorm === null ? 1 : Math.min(1, stage.clipNorm / (gradientNorm + 1e-6));
        optimizer.update(sink.gradients, { learningRate, scale: clip / stage.accumulate });
        runner.parametersChanged();
      }
      return { loss, tokens, multipliedTokens, gradientNorm, learningRate };
    },
    encode: async (texts, promptName) => {
      const prompted =
        promptName === undefined ? prepare : recipePreparer(withPrompt(used, promptName), tokenizer);
      const embeddings = await encoder.encode(texts.map((text) => prompted(text)));
      normaliseRows(embeddings);
      return embeddings;
    },
    save: (folder) =>
      options.save(folder, {
        decoder,
        recipe: used,
        tuning,
        parameters,
        previous,
        lineage: lineageOf(previous, options, tuning),
      }),
    ...(plan.warning === undefined ? {} : { warning: plan.warning }),
    describe: () =>
      Promise.resolve({
        parameters:
          parameterCounts(decoder).all +
          (tuning.type === 'lora' ? sizeOf(adapters) : 0) +
          sizeOf(poolingParameters),
        trainableParameters: sizeOf(parameters),
        // Forward 2, backward 2 for the inputs, and 2 more for weights that are trained themselves.
        flopsPerToken:
          { none: 2, lora: 4, bitfit: 4, full: 6 }[tuning.type] * parameterCounts(decoder).blocks,
        savePolicy: plan.policy,
        memoryEstimate: plan.estimate,
        firstBatch: objective.decode(objective.batch(0)).slice(0, 8),
      }),
    dispose: async () => {
      await objective.dispose();
      await encoder.dispose();
      await runner.dispose();
      pool.clear();
    },
  };
}

/** What is trained of the decoder: fresh adapters, its own weights or some of them, or nothing. */
function trainedWeights(decoder: Decoder, tuning: TuningConfig, seed: number): Map<string, Float32Array> {
  switch (tuning.type) {
    case 'lora':
      return initialiseLora(decoder.config, tuning, seed);
    case 'full':
      return float32Weights(decoder);
    case 'bitfit':
      return blockBiases(decoder);
    case 'none':
      return new Map();
    default:
      return assertNever(tuning);
  }
}

/** @throws UserError where the decoder has none */
function blockBiases(decoder: Decoder): Map<string, Float32Array> {
  const names = new Set(biasNames(decoder.config, decoder.weights.keys()));
  if (names.size === 0) {
    throw userError({
      what: `a ${decoder.config.model_type} decoder has no biases that BitFit could train`,
      where: 'tuning.type',
      got: 'bitfit',
      expected: 'lora or full',
    });
  }
  return new Map([...float32Weights(decoder)].filter(([name]) => names.has(name)));
}

/** @throws UserError where some are packed */
function float32Weights({ weights }: Decoder): Map<string, Float32Array> {
  return new Map(
    [...weights].map(([name, weight]) => {
      if (!isPacked(weight)) return [name, weight];
      throw userError({
        what: 'weights of the decoder itself are trained in float32',
        where: 'model.residentPrecision',
        got: weight.storedType,
        expected: 'float32',
      });
    }),
  );
}

interface GradientOptions {
  readonly runner: Runner;
  readonly objective: Objective;
  readonly batch: ObjectiveBatch;
  readonly dropout: DropoutContext;
  readonly sink: GradientSink;
}

/** Loss of a batch; its gradients are added to the sink. */
async function gradients({ runner, objective, batch, dropout, sink }: GradientOptions): Promise<number> {
  const { blocks: layers, also, inChunks } = objective;
  const forward = { keep: true, dropout, layers, ...(also === undefined ? {} : { also }) };
  const { chunks } = batch;
  if (chunks !== undefined && inChunks !== undefined)
    return gradCacheStep({ runner, forward, chunks, batch, objective: inChunks, sink });
  const pass = await runner.forward(batch.batches, forward);
  const { loss, hiddenGradients } = await objective.loss(pass, batch, sink);
  await runner.backward(pass, hiddenGradients, sink);
  return loss;
}

/** Texts that are tokenised to learn how long they are. */
const SAMPLE_TEXTS = 256;

/** Tokens of a sample of the stage's texts; pieces of running text are full. */
function textLengths(
  { stage, data, tokenizer }: Pick<CreateOptions, 'stage' | 'data' | 'tokenizer'>,
  recipe: EmbeddingRecipe,
): number[] {
  if (stage.objective === 'contrastive') return exampleLengths(stage, data, { recipe, tokenizer });
  if (stage.objective !== 'simcse' || data.sentences.length === 0) return [stage.maxTokens];
  const prepare = recipePreparer(recipe, tokenizer);
  const stride = Math.max(1, Math.floor(data.sentences.length / SAMPLE_TEXTS));
  const count = Math.min(SAMPLE_TEXTS, Math.floor((data.sentences.length - 1) / stride) + 1);
  return Array.from({ length: count }, (_, i) => prepare(data.sentences.at(i * stride) as string).ids.length);
}

/** A stage's own way to embed, its texts cut where the stage cuts them. */
export function stageRecipe(recipe: EmbeddingRecipe, stage: StageConfig): EmbeddingRecipe {
  return {
    ...withPrompt(recipe, stage.prompt),
    ...(stage.attention === undefined ? {} : { attention: stage.attention }),
    ...(stage.pooling === undefined ? {} : { pooling: stage.pooling }),
    maxTokens: stage.maxTokens,
  };
}

async function createObjective(
  stage: DecoderStageConfig,
  { context, data }: { readonly context: ObjectiveContext; readonly data: TrainingData },
): Promise<Objective> {
  // Each objective takes back just the batches that it made.
  if (stage.objective === 'contrastive') {
    const { mixture, sets } = contrastiveData(stage, data, context);
    return contrastive(mixture, { stage, context, sets });
  }
  if (stage.objective === 'simcse') {
    const { recipe, tokenizer } = context;
    const prepare = recipePreparer(recipe, tokenizer);
    if (stage.secondPrompt === undefined) return simcse(data.sentences, { stage, context, prepare });
    const prepareSecond = recipePreparer({ ...recipe, prompt: stage.secondPrompt }, tokenizer);
    return simcse(data.sentences, { stage, context, prepare, prepareSecond });
  }
  const chunks = await chosenChunks(() => data.documents(), {
    tokenizer: context.tokenizer,
    maxTokens: stage.maxTokens,
    joinDocuments: true,
    seed: context.seed,
    needed: stage.maxSteps * stage.accumulate * stage.batchTexts,
    ...(data.characters === undefined ? {} : { characters: data.characters }),
  });
  if (chunks.length === 0)
    throw userError({ what: 'no training text is long enough for a chunk', where: 'data.train' });
  return stage.objective === 'mntp' ? mntp(chunks, stage, context) : causalLm(chunks, stage, context);
}

/** A pooling that an earlier stage trained goes on from there. */
function inheritedPooling(
  fresh: Map<string, Float32Array>,
  previous: readonly FinishedStage[],
): Map<string, Float32Array> {
  for (const { parameters } of previous) {
    for (const [name, values] of fresh) {
      const learned = parameters.get(name);
      if (learned !== undefined && learned.length === values.length) values.set(learned);
    }
  }
  return fresh;
}

function restoreParameters(parameters: ReadonlyMap<string, Float32Array>, state: TrainingState): void {
  for (const [name, values] of parameters) {
    const saved = state.parameters.get(name);
    if (saved?.length !== values.length) {
      throw userError({
        what: `the checkpoint does not fit the configuration at ${name}`,
        got: `${saved?.length ?? 'no'} values`,
        expected: `${values.length}`,
      });
    }
    values.set(saved);
  }
}

function lineageOf(
  previous: readonly FinishedStage[],
  { name, stage }: { readonly name: string; readonly stage: StageConfig },
  tuning: TuningConfig,
): LineageStep[] {
  const stages = [
    ...previous.map((finished) => ({ name: finished.name, stage: finished.stage })),
    { name, stage },
  ];
  return stages.map((one) => ({
    stage: one.name,
    objective: one.stage.objective,
    steps: one.stage.maxSteps,
    tuning: tuningOf(one.stage, tuning).type,
  }));
}

function isMatrix(name: string, decoder: Decoder): boolean {
  if (name.includes('.lora_')) return true;
  const shape = decoder.shapes.get(name);
  return shape === undefined ? !name.includes('norm') && !name.endsWith('.bias') : shape.length > 1;
}

function sizeOf(parameters: ReadonlyMap<string, Float32Array>): number {
  let count = 0;
  for (const values of parameters.values()) count += values.length;
  return count;
}
