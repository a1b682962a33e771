import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseConfig } from '../../src/config/load.js';
import { Embedder } from '../../src/embedder/embedder.js';
import { exportEmbedder } from '../../src/recipes/export.js';
import { runSchema } from '../../src/recipes/schema.js';
import { train } from '../../src/recipes/train.js';
import { packageFolder } from '../../src/shared/package.js';
import { sampleMemory, sampleRounds, type MemorySample } from './samples.js';

/** A Llama of two layers and 72 tokens. */
const model = join(packageFolder, 'test/golden/llama/base');
const evaluation = join(packageFolder, 'assets/wordnet-sts/dev.tsv');
const texts = Array.from(
  { length: 200 },
  (_, i) => `the cat ${i} sat on ${'that mat and '.repeat(i % 5)}end`,
);

export interface LeakWork {
  /** An empty folder. */
  readonly folder: string;
  /** Steps, or rounds. */
  readonly count: number;
  readonly every: number;
}

/** A whole run through `lmvec train`: a tenth of the steps MNTP, the rest SimCSE, with evaluations, checkpoints and logs on the way. */
export async function trainSteps({ folder, count, every }: LeakWork, threads = 1): Promise<MemorySample[]> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'texts.txt'), `${texts.join('\n')}\n`);
  const before = Math.ceil(count / 10);
  const stage = `batchTexts: 4, maxTokens: 32, learningRate: 1e-4, attentionDropout: 0.1`;
  const text = `{model: ${JSON.stringify(model)}, output: ${JSON.stringify(join(folder, 'run'))},
    tuning: {type: lora, rank: 2, alpha: 4, dropout: 0.1}, data: {train: ${JSON.stringify(join(folder, 'texts.txt'))}},
    stages: {mntp: {objective: mntp, maxSteps: ${before}, ${stage}}, simcse: {objective: simcse, maxSteps: ${count - before}, ${stage}}},
    evaluate: {tasks: [${JSON.stringify(evaluation)}], everyNthRow: 50, everySteps: ${every}},
    export: {files: []}, train: {checkpointEverySteps: ${every}, threads: ${threads}}}`;
  const { config } = parseConfig(text, { file: 'leak.yaml', overrides: [], schema: runSchema });
  const samples: MemorySample[] = [];
  await train(config, {
    progress: {
      update: ({ stage: name, step }) => {
        const at = step + (name === 'simcse' ? before : 0);
        if (at % every === 0) samples.push(sampleMemory(at));
      },
      message: () => undefined,
      end: () => undefined,
    },
  });
  return samples;
}

/** The same model exported and verified again and again. */
export function exports({ folder, count, every }: LeakWork): Promise<MemorySample[]> {
  return sampleRounds(
    async () => {
      await exportEmbedder({
        model,
        output: folder,
        overwrite: true,
        attention: 'bidirectional',
        threads: 1,
      });
    },
    { rounds: count, every },
  );
}

/** A model opened, used and closed again and again. */
export function embeddings({ count, every }: Omit<LeakWork, 'folder'>): Promise<MemorySample[]> {
  return sampleRounds(
    async (round) => {
      const embedder = await Embedder.open(model, { attention: 'bidirectional', threads: 1 });
      await embedder.encode(texts.slice(0, 20 + (round % 3)));
      await embedder.dispose();
    },
    { rounds: count, every },
  );
}

/** One open model that embeds again and again, other texts each time. */
export async function calls({ count, every }: Omit<LeakWork, 'folder'>): Promise<MemorySample[]> {
  const embedder = await Embedder.open(model, { attention: 'bidirectional', threads: 1 });
  try {
    return await sampleRounds(
      async (round) => {
        const first = round % 150;
        await embedder.encode(texts.slice(first, first + 1 + (round % 40)));
      },
      { rounds: count, every },
    );
  } finally {
    await embedder.dispose();
  }
}

/** Leaves nothing behind. */
export async function inFolder<T>(folder: string, use: (folder: string) => Promise<T>): Promise<T> {
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
