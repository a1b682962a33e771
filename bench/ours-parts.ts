import { TensorPool } from '../src/compiler/pool.js';
import { packTexts } from '../src/data/packing.js';
import { preparer, type TextPreparer } from '../src/data/prompts.js';
import { batchIndices } from '../src/data/sampler.js';
import { createTokenizer } from '../src/data/tokenizer.js';
import { loadDecoder } from '../src/models/decoder.js';
import { initialiseLora } from '../src/models/lora.js';
import { DecoderRunner, GradientSink } from '../src/models/runner.js';
import { blockMatrices } from '../src/models/schema.js';
import { openDecoder } from '../src/models/weights/index.js';
import { exportEmbedder } from '../src/recipes/export.js';
import { openModel } from '../src/recipes/open-model.js';
import { internalError } from '../src/shared/errors.js';
import type { Objective, ObjectiveContext } from '../src/training/objectives/objective.js';
import { simcse } from '../src/training/objectives/simcse.js';
import { mntp } from '../src/training/objectives/token-prediction.js';
import { AdamW, globalNorm } from '../src/training/optimizer.js';
import { stageSchema, type StageConfig } from '../src/training/schema.js';
import type { Job, JobBatch } from './jobs.js';
import type { OpenBench } from './ours.js';

/** LoRA SimCSE: each batch's texts twice, packed, one optimizer step. */
export async function openSimcse(job: Job): Promise<OpenBench> {
  const stage = stageOf(job, {
    objective: 'simcse',
    scale: job.scale,
    attentionDropout: job.attentionDropout,
  });
  if (stage.objective !== 'simcse') throw internalError('not a SimCSE stage');
  return openTraining(job, stage, (context) => {
    const texts = inStepOrder(job, context.seed);
    const prepare = preparer({ tokenizer: context.tokenizer, pool: 'all', maxTokens: job.maxTokens });
    return simcse(
      texts.map((_, i) => String(i)),
      { stage, context, prepare: (key) => tokenized(texts[Number(key)], prepare) },
    );
  });
}

/** MNTP: each batch's chunks of token ids, masked, one optimizer step. */
export async function openMntp(job: Job): Promise<OpenBench> {
  const stage = stageOf(job, { objective: 'mntp', maskRatio: job.maskRatio });
  if (stage.objective !== 'mntp') throw internalError('not an MNTP stage');
  return openTraining(job, stage, (context) => {
    const prepare = preparer({ tokenizer: context.tokenizer, pool: 'all', maxTokens: job.maxTokens });
    return mntp(
      inStepOrder(job, context.seed).map((text) => tokenized(text, prepare)),
      stage,
      context,
    );
  });
}

function stageOf(job: Job, objective: object): StageConfig {
  return stageSchema.parse({
    ...objective,
    maxSteps: job.batches.length,
    batchTexts: textsOf(job.batches[0]).length,
    maxTokens: job.maxTokens,
    learningRate: job.learningRate,
  });
}

async function openTraining(
  job: Job,
  stage: StageConfig,
  objectiveOf: (context: ObjectiveContext) => Objective,
): Promise<OpenBench> {
  const { threads, seed, lora } = job;
  const source = await openDecoder(job.model);
  const decoder = await loadDecoder(source);
  await source.weights.close();
  const parameters = initialiseLora(decoder.config, { ...lora, targetModules: blockMatrices }, seed);
  const pool = new TensorPool();
  const runner = new DecoderRunner({
    decoder,
    attention: 'bidirectional',
    pool,
    threads,
    trainable: parameters,
    adapterScale: lora.alpha / lora.rank,
    policy: job.policy === 'fastest' ? 'matmulOutputs' : 'blockInputs',
    attentionDropout: stage.attentionDropout,
    adapterDropout: lora.dropout,
  });
  const objective = objectiveOf({
    decoder,
    tokenizer: createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config),
    recipe: {
      attention: 'bidirectional',
      window: 'keep',
      pooling: { type: 'mean', layer: -1 },
      maxTokens: job.maxTokens,
    },
    runner,
    pool,
    threads,
    seed,
    trained: new Set(),
    poolingTensors: {},
  });
  const optimizer = new AdamW(parameters, new Set(), stage);
  const sink = new GradientSink();
  return {
    run: async (_, index) => {
      const batch = objective.batch(index);
      const pass = await runner.forward(batch.batches, { keep: true, dropout: { seed, step: index } });
      const { loss, hiddenGradients } = await objective.loss(pass, batch, sink);
      await runner.backward(pass, hiddenGradients, sink);
      const norm = globalNorm(sink.gradients.values());
      const scale = stage.clipNorm === null ? 1 : Math.min(1, stage.clipNorm / norm);
      optimizer.update(sink.gradients, { learningRate: job.learningRate, scale });
      sink.clear();
      const multipliedTokens = batch.batches.reduce(
        (sum, { rows, tokensPerRow }) => sum + rows * tokensPerRow,
        0,
      );
      return {
        realTokens: batch.tokens,
        multipliedTokens,
        note: `loss ${loss.toFixed(4)}, gradient norm ${norm.toFixed(3)}`,
      };
    },
    close: async () => {
      await objective.dispose();
      await runner.dispose();
      pool.clear();
    },
  };
}

type JobText = string | readonly number[];

function textsOf(batch: JobBatch | undefined): readonly JobText[] {
  return batch === undefined ? [] : 'texts' in batch ? batch.texts : batch.ids;
}

/** The texts where the sampler will look for them, so that step i draws batch i of the job. */
function inStepOrder({ batches }: Job, seed: number): readonly JobText[] {
  const batchTexts = textsOf(batches[0]).length;
  const count = batches.length * batchTexts;
  const placed = new Array<JobText>(count);
  for (const [step, batch] of batches.entries()) {
    const texts = textsOf(batch);
    for (const [i, place] of batchIndices({ count, batchTexts, seed, step }).entries())
      placed[place] = texts[i] ?? '';
  }
  return placed;
}

function tokenized(text: JobText | undefined, prepare: TextPreparer): ReturnType<TextPreparer> {
  if (text === undefined) throw internalError('a batch asks for a text that the job does not have');
  if (typeof text === 'string') return prepare(text);
  return { ids: Int32Array.from(text), pool: new Uint8Array(text.length).fill(1) };
}

/** Embeddings of each batch's texts as `embed` makes them from the exported folder. */
export async function openEncoding(job: Job, folder: string): Promise<OpenBench> {
  const source = await openDecoder(job.model);
  const tokenizer = createTokenizer(source.tokenizer.json, source.tokenizer.config);
  await source.weights.close();
  const prepare = preparer({ tokenizer, pool: 'all', maxTokens: job.maxTokens });
  const model = await openModel({ model: folder, threads: job.threads });
  // Counted before the clock runs: what `packTexts` makes of a batch is what its embeddings cost.
  const counts = job.batches.map((batch) => {
    const texts = textsOf(batch).map((text) => tokenized(text, prepare));
    return {
      realTokens: texts.reduce((sum, { ids }) => sum + ids.length, 0),
      multipliedTokens: packTexts(texts, { maxTokens: job.maxTokens }).reduce(
        (sum, { rows, tokensPerRow }) => sum + rows * tokensPerRow,
        0,
      ),
    };
  });
  return {
    run: async (batch, index) => {
      if (!('texts' in batch)) throw internalError('encode jobs hold texts');
      const { data, dimensions } = await model.encode(batch.texts);
      const sample = Array.from({ length: 4 }, (_, i) => [
        ...data.subarray(i * dimensions, (i + 1) * dimensions),
      ]);
      return { ...(counts[index] ?? { realTokens: 0, multipliedTokens: 0 }), sample };
    },
    close: () => model.close(),
  };
}

/** Exports the untouched decoder (causal, mean pooling, no prompt) as a folder. */
export async function exportForEncoding(job: Job, folder: string): Promise<void> {
  const { model, maxTokens, threads } = job;
  await exportEmbedder({ model, attention: 'causal', pooling: 'mean', maxTokens, threads, output: folder });
}
