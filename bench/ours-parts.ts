import { packTexts } from '../src/data/packing.js';
import { preparer, type TextPreparer } from '../src/data/prompts.js';
import { listedExamples, type RankedExample } from '../src/data/examples.js';
import { BatchSampler } from '../src/data/sampler.js';
import { createTokenizer } from '../src/data/tokenizer.js';
import { loadDecoder } from '../src/models/decoder.js';
import { tuningSchema } from '../src/models/schema.js';
import { openDecoder } from '../src/models/weights/index.js';
import { exportEmbedder } from '../src/recipes/export.js';
import { openModel } from '../src/recipes/open-model.js';
import { internalError } from '../src/shared/errors.js';
import type { Objective, ObjectiveContext } from '../src/training/objectives/objective.js';
import { contrastive } from '../src/training/objectives/contrastive.js';
import { simcse } from '../src/training/objectives/simcse.js';
import { mntp } from '../src/training/objectives/token-prediction.js';
import { stageSchema, type StageConfig } from '../src/training/schema.js';
import { stageFactory } from '../src/training/stage.js';
import type { TrainingData } from '../src/training/stage-options.js';
import type { Job, JobBatch } from './jobs.js';
import type { OpenBench } from './ours.js';

/** LoRA SimCSE: each batch's texts twice, packed, one optimizer step. */
export async function openSimcse(job: Job): Promise<OpenBench> {
  const objective = { objective: 'simcse', scale: job.scale, attentionDropout: job.attentionDropout };
  return openTraining(job, objective, (stage, context) => {
    if (stage.objective !== 'simcse') throw internalError('not a SimCSE stage');
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
  return openTraining(job, { objective: 'mntp', maskRatio: job.maskRatio }, (stage, context) => {
    if (stage.objective !== 'mntp') throw internalError('not an MNTP stage');
    const prepare = preparer({ tokenizer: context.tokenizer, pool: 'all', maxTokens: job.maxTokens });
    const chunks = inStepOrder(job, context.seed).map((text) => tokenized(text, prepare));
    return mntp(chunks, stage, context);
  });
}

/** LoRA InfoNCE with one hard negative: each batch's triples, packed, in chunks where the job asks for them, one optimizer step. */
export async function openContrastive(job: Job): Promise<OpenBench> {
  const { scale, attentionDropout, chunkTexts } = job;
  const chunks = chunkTexts === undefined ? {} : { chunkTexts };
  const objective = { objective: 'contrastive', scale, attentionDropout, maskDuplicates: false, ...chunks };
  return openTraining(job, objective, (stage, context) => {
    if (stage.objective !== 'contrastive') throw internalError('not a contrastive stage');
    const prepare = preparer({ tokenizer: context.tokenizer, pool: 'all', maxTokens: job.maxTokens });
    const sets = [{ name: 'triples', prepareQuery: prepare, prepareDocument: prepare, inBatch: true }];
    const batch = (index: number) => triplesOf(job.batches[index]).map((example) => ({ set: 0, example }));
    return contrastive({ batch }, { stage, context, sets });
  });
}

function triplesOf(batch: JobBatch | undefined): RankedExample[] {
  const texts = textsOf(batch).map(String);
  const count = texts.length / 3;
  return Array.from({ length: count }, (_, i) => ({
    form: 'ranked',
    query: texts[i] ?? '',
    positive: texts[count + i] ?? '',
    negatives: [texts[2 * count + i] ?? ''],
  }));
}

/** A stage as `train` makes it, but for the texts of its batches: those are the job's. */
async function openTraining(
  job: Job,
  objective: object,
  createObjective: (stage: StageConfig, context: ObjectiveContext) => Objective,
): Promise<OpenBench> {
  const source = await openDecoder(job.model);
  const decoder = await loadDecoder(source);
  await source.weights.close();
  const { seed, threads, maxTokens, memory, device = 'cpu', precision = 'float32' } = job;
  const recipe = {
    attention: 'bidirectional',
    window: 'keep',
    pooling: { type: 'mean', layer: -1 },
    maxTokens,
  } as const;
  const createStage = stageFactory({
    decoder,
    recipe,
    tuning: tuningSchema.parse({ type: 'lora', ...job.lora }),
    seed,
    threads,
    device,
    computePrecision: precision,
    memory,
    ...(job.policy === 'block inputs' ? { savePolicy: 'blockInputs' as const } : {}),
    data: { sentences: [], documents: noDocuments, ...exampleSetsOf(job) },
    createObjective,
    save: () => Promise.reject(internalError('a bench saves nothing')),
  });
  const stage = stageSchema.parse({
    ...objective,
    maxSteps: job.batches.length,
    batchTexts: textsOf(job.batches[0]).length / (job.kind === 'contrastive' ? 3 : 1),
    maxTokens,
    learningRate: job.learningRate,
  });
  const runner = await createStage({ name: 'bench', stage, previous: [] });
  const { savePolicy, memoryEstimate } = await runner.describe();
  console.error(`lmvec: save policy ${savePolicy}, expected peak ${(memoryEstimate / 1e9).toFixed(2)} GB`);
  return {
    run: async (_, index) => {
      const { tokens, multipliedTokens, loss, gradientNorm } = await runner.step(index);
      const note = `loss ${loss.toFixed(4)}, gradient norm ${gradientNorm.toFixed(3)}`;
      return { realTokens: tokens, multipliedTokens, note };
    },
    close: () => runner.dispose(),
  };
}

/** The first batch's triples, for the estimate of memory. */
function exampleSetsOf(job: Job): Partial<TrainingData> {
  if (job.kind !== 'contrastive') return {};
  const set = listedExamples('triples', triplesOf(job.batches[0]));
  return { exampleSets: new Map([['triples', { set, weight: 1, prompts: {} }]]) };
}

async function* noDocuments(): AsyncGenerator<string> {
  // The objective has its texts from the job.
}

type JobText = string | readonly number[];

function textsOf(batch: JobBatch | undefined): readonly JobText[] {
  if (batch === undefined || 'search' in batch) return [];
  return 'texts' in batch ? batch.texts : batch.ids;
}

/** The texts where the sampler will look for them, so that step i draws batch i of the job. */
function inStepOrder({ batches }: Job, seed: number): readonly JobText[] {
  const batchTexts = textsOf(batches[0]).length;
  const count = batches.length * batchTexts;
  const placed = new Array<JobText>(count);
  const sampler = new BatchSampler({ count, batchTexts, seed });
  for (const [step, batch] of batches.entries()) {
    const texts = textsOf(batch);
    for (const [i, place] of sampler.batch(step).entries()) placed[place] = texts[i] ?? '';
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
  const model = await openModel({ model: folder, threads: job.threads, device: job.device ?? 'cpu' });
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
