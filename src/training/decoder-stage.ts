import type { Device } from '../compiler/device.js';
import { floatTensor } from '../compiler/program.js';
import { TensorPool } from '../compiler/pool.js';
import type { SavePolicy } from '../compiler/split.js';
import type { TextTokenizer } from '../data/tokenizer.js';
import { positionLimit } from '../models/decoder-config.js';
import { parameterCounts, type Decoder } from '../models/decoder.js';
import { createRunner } from '../models/parallel-runner.js';
import type { Runner } from '../models/runner.js';
import { GradientSink } from '../models/gradient-sink.js';
import type { DropoutContext } from '../models/block-masks.js';
import { recipePreparer, withPrompt } from '../pooling/embedding-model.js';
import { normaliseRows, PackedEncoder } from '../pooling/packed-encoder.js';
import { createPooling } from '../pooling/registry.js';
import { userError } from '../shared/errors.js';
import { learningRateAt } from './learning-rate.js';
import { planMemory } from './memory/plan.js';
import { gradCacheStep } from './grad-cache.js';
import { LossScale, scaledBackward } from './loss-scale.js';
import type { Objective, ObjectiveBatch, ObjectiveContext } from './objectives/objective.js';
import { AdamW, globalNorm } from './optimizer.js';
import type { DecoderStageConfig } from './schema.js';
import type { FinishedStage, StageRunner } from './stage-runner.js';
import type { StageFactoryOptions } from './stage-options.js';
import {
  trainedRows,
  trainedWeights,
  inheritedPooling,
  restoreParameters,
  isMatrix,
  sizeOf,
} from './trained-weights.js';
import { stageRecipe, stageSeed, textLengths } from './stage-recipe.js';
import { lineageOf } from './lineage.js';
import { createObjective } from './objectives/create.js';

export interface CreateOptions extends StageFactoryOptions {
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

export async function createStage(options: CreateOptions): Promise<StageRunner> {
  const { decoder, previous, tokenizer, threads, computePrecision = 'float32' } = options;
  const stage = withinPositions(options.stage, decoder);
  const seed = stageSeed(options.seed, options.name);
  const tuning = stage.tuning ?? options.tuning;
  const recipe = stageRecipe(options.recipe, stage);
  const pool = new TensorPool(options.device);
  const runtime = threads === undefined ? {} : { threads };
  const adapters = trainedWeights(decoder, tuning, seed);
  const rows = trainedRows(decoder, { recipe, stage, tuning });
  const pooling = createPooling(recipe.pooling, decoder.config);
  const fresh = pooling.initialise?.(seed) ?? new Map<string, Float32Array>();
  const stored = await options.storedPooling?.(pooling.parameterShapes ?? new Map());
  const poolingParameters = inheritedPooling(fresh, [stored, ...previous.map((one) => one.parameters)]);
  if ((pooling.statisticShapes?.size ?? 0) > 0)
    throw userError({
      what: 'vectors are standardised after training, not before',
      where: 'pooling.standardise',
      hint: 'calibrate the trained model: lmvec calibrate',
    });
  const parameters = new Map([...adapters, ...rows, ...poolingParameters]);
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
    computePrecision,
    characters: options.data.characters,
    evaluatedTokens: options.recipe.maxTokens,
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
    trainable: new Map([...adapters, ...rows]),
    policy: plan.policy,
    copies: plan.copies,
    computePrecision,
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
  // bfloat16 reaches as far as float32.
  const lossScale = computePrecision === 'float16' ? new LossScale() : undefined;
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
    state: () => ({
      parameters,
      optimizer: optimizer.state(),
      ...(lossScale === undefined ? {} : { lossScale: lossScale.state() }),
    }),
    restore: (state) => {
      restoreParameters(parameters, state);
      optimizer.restore(state.optimizer);
      if (state.lossScale !== undefined) lossScale?.restore(state.lossScale);
      runner.parametersChanged();
    },
    step: async (index) => {
      sink.clear();
      const scale = lossScale?.state().scale ?? 1;
      let loss = 0;
      let tokens = 0;
      let multipliedTokens = 0;
      for (let micro = 0; micro < stage.accumulate; micro++) {
        const number = index * stage.accumulate + micro;
        const batch = objective.batch(number);
        const dropout = { seed, step: number };
        loss += (await gradients({ runner, objective, batch, dropout, sink, scale })) / stage.accumulate;
        tokens += batch.tokens;
        for (const { rows, tokensPerRow } of batch.batches) multipliedTokens += rows * tokensPerRow;
      }
      const gradientNorm = globalNorm(sink.gradients.values()) / stage.accumulate;
      const learningRate = learningRateAt(index, stage);
      const finite = Number.isFinite(gradientNorm);
      if (Number.isFinite(loss) && finite) {
        const clip = stage.clipNorm === null ? 1 : Math.min(1, stage.clipNorm / (gradientNorm + 1e-6));
        optimizer.update(sink.gradients, { learningRate, scale: clip / stage.accumulate });
        runner.parametersChanged();
      }
      const result = { loss, tokens, multipliedTokens, gradientNorm, learningRate };
      if (lossScale === undefined) return result;
      // A scale does not help where the loss itself is lost.
      if (!Number.isFinite(loss))
        throw userError({
          what: `the loss of stage ${options.name} became ${loss}, so the run was stopped`,
          where: 'train.precision',
          got: 'float16, which ends at 65,504',
          expected: 'bfloat16 or float32',
        });
      lossScale.update(finite);
      return { ...result, lossScale: scale, ...(finite ? {} : { skipped: true }) };
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
          { none: rows.size > 0 ? 4 : 2, lora: 4, bitfit: 4, full: 6 }[tuning.type] *
          parameterCounts(decoder).blocks,
        savePolicy: plan.policy,
        ...(computePrecision === 'float32' ? {} : { computePrecision }),
        weightCopies: plan.copies,
        memoryEstimate: plan.estimate,
        memoryParts: plan.parts,
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

interface GradientOptions {
  readonly runner: Runner;
  readonly objective: Objective;
  readonly batch: ObjectiveBatch;
  readonly dropout: DropoutContext;
  readonly sink: GradientSink;
  /** See loss-scale.ts. */
  readonly scale: number;
}

/** Loss of a batch; its gradients are added to the sink. */
async function gradients(options: GradientOptions): Promise<number> {
  const { runner, objective, batch, dropout, sink, scale } = options;
  const { blocks: layers, also, inChunks } = objective;
  const forward = { keep: true, dropout, layers, ...(also === undefined ? {} : { also }) };
  const { chunks } = batch;
  if (chunks !== undefined && inChunks !== undefined)
    return gradCacheStep({ runner, forward, chunks, batch, objective: inChunks, sink, scale });
  const pass = await runner.forward(batch.batches, forward);
  const { loss, hiddenGradients } = await objective.loss(pass, batch, sink);
  await scaledBackward({ runner, scale, sink }, pass, hiddenGradients);
  return loss;
}
