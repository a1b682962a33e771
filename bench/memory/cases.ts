import { join } from 'node:path';

/** The part of a run's configuration that a case is about. */
export interface MemoryCase {
  readonly name: string;
  /** Row of the table: what is trained, in words. */
  readonly title: string;
  readonly config: object;
}

const simcse = { objective: 'simcse', batchTexts: 16, maxTokens: 128, learningRate: 3e-5 };
const chunks = { batchTexts: 8, maxTokens: 128, learningRate: 5e-5 };
const triples = { objective: 'contrastive', batchTexts: 16, maxTokens: 128, learningRate: 3e-5, scale: 20 };

/** Every policy with one and two copies of the weights, other objectives, tunings and poolings, and a budget from too little to plenty. */
const named: Readonly<Record<string, { readonly title: string; readonly config: object }>> = {
  ...Object.fromEntries(
    (['all', 'matmulOutputs', 'blockInputs'] as const).flatMap((savePolicy) =>
      [1, 2].map((copies) => [
        `simcse-${savePolicy}-${copies}`,
        {
          title: `SimCSE, 16 x 2 sentences, \`${savePolicy}\`, ${copies === 1 ? 'weights once' : 'weights twice'}`,
          config: {
            stage: simcse,
            // Too little for a second copy, or enough for everything.
            train: { savePolicy, memory: copies === 1 ? '1MB' : '1TB' },
          },
        },
      ]),
    ),
  ),
  ...Object.fromEntries(
    ['1GB', '1.5GB', '2GB', '3GB', '4GB', '6GB'].map((memory) => [
      `simcse-${memory}`,
      { title: 'SimCSE, 16 x 2 sentences', config: { stage: simcse, train: { memory } } },
    ]),
  ),
  ...Object.fromEntries(
    ['1.5GB', '3GB'].map((memory) => [
      `simcse-128-${memory}`,
      {
        title: 'SimCSE, 128 x 2 sentences',
        config: { stage: { ...simcse, batchTexts: 128 }, train: { memory } },
      },
    ]),
  ),
  'simcse-one-thread': {
    title: 'SimCSE, 16 x 2 sentences, one thread',
    config: { stage: simcse, train: { threads: 1 } },
  },
  'simcse-long': {
    title: 'SimCSE, 2 x 2 texts of 300 to 512 tokens',
    config: { stage: { ...simcse, batchTexts: 2, maxTokens: 512 }, data: 'long' },
  },
  'simcse-short': {
    title: 'SimCSE, 32 x 2 texts cut to 32 tokens',
    config: { stage: { ...simcse, batchTexts: 32, maxTokens: 32 } },
  },
  'prompt-eol': {
    title: "SimCSE on PromptEOL's last token, 16 x 2 sentences",
    config: { stage: simcse, method: 'prompt-eol' },
  },
  ...Object.fromEntries(
    ['2GB', '4GB'].map((memory) => [
      `mntp-${memory}`,
      {
        title: 'MNTP, 8 x 128 tokens',
        config: { stage: { objective: 'mntp', ...chunks }, train: { memory } },
      },
    ]),
  ),
  'causal-lm': {
    title: 'causal LM, 8 x 128 tokens',
    config: { stage: { objective: 'causalLm', ...chunks }, attention: 'causal' },
  },
  contrastive: { title: 'contrastive, 16 triples', config: { stage: triples } },
  'contrastive-2GB': {
    title: 'contrastive, 16 triples',
    config: { stage: triples, train: { memory: '2GB' } },
  },
  ...Object.fromEntries(
    [64, 1024].map((batchTexts) => [
      `gradcache-${batchTexts}`,
      {
        title: `contrastive, ${batchTexts} triples, 32 texts at once`,
        config: { stage: { ...triples, batchTexts, chunkTexts: 32 } },
      },
    ]),
  ),
  ...Object.fromEntries(
    ['2GB', '3GB', '4GB', '6GB'].map((memory) => [
      `full-${memory}`,
      {
        title: 'full tuning, SimCSE, 16 x 2 sentences',
        config: { stage: simcse, tuning: { type: 'full' }, train: { memory } },
      },
    ]),
  ),
  'full-mntp': {
    title: 'full tuning, MNTP, 8 x 128 tokens',
    config: {
      stage: { objective: 'mntp', ...chunks },
      tuning: { type: 'full' },
      train: { memory: '6GB' },
    },
  },
  'latent-attention': {
    title: 'latent attention alone (`tuning: none`), 16 triples',
    config: {
      stage: triples,
      tuning: { type: 'none' },
      pooling: { type: 'latentAttention' },
    },
  },
  lmort: {
    title: 'LMORT (`tuning: none`), 16 triples',
    config: { stage: triples, tuning: { type: 'none' }, pooling: { type: 'lmort', layer: [20, 28] } },
  },
  ...Object.fromEntries(
    ['1GB', '2GB'].map((memory) => [
      `stored-${memory}`,
      {
        title: 'SimCSE, 16 x 2 sentences, weights as stored',
        config: {
          stage: simcse,
          residentPrecision: 'stored',
          train: { memory },
        },
      },
    ]),
  ),
  'two-stages-2GB': {
    title: 'MNTP, then SimCSE, with an ONNX file',
    config: {
      stages: {
        mntp: { objective: 'mntp', ...chunks },
        simcse,
      },
      train: { memory: '2GB' },
      export: { files: ['float32'] },
    },
  },
};

export const caseNames: readonly string[] = Object.keys(named);

export interface CasePlace {
  /** A decoder: a GGUF file or a folder. */
  readonly model: string;
  /** Folder with corpus/, STSb/ and SNLI/. */
  readonly data: string;
  /** A folder for what the run writes. */
  readonly output: string;
  readonly steps: number;
  /** Pool this layer's states, so that only the blocks below it run: what a long run compiles, sooner. */
  readonly layer?: number | undefined;
}

/** The run's configuration, as a file would say it. */
export function configOf(name: string, { model, data, output, steps, layer }: CasePlace): object {
  const given = named[name]?.config as CaseConfig;
  const stages = Object.entries(given.stages ?? { stage: given.stage });
  const files =
    given.data === 'long' ? ['long.txt'] : ['corpus/wikisplit.txt', 'corpus/brown.txt', 'corpus/masc.txt'];
  const folder = given.data === 'long' ? output : data;
  const supervised = stages.some(([, stage]) => stage?.['objective'] === 'contrastive');
  return {
    model: { path: model, residentPrecision: given.residentPrecision ?? 'float32' },
    ...(given.method === undefined
      ? {
          attention: given.attention ?? 'bidirectional',
          pooling: given.pooling ?? { type: 'mean', ...(layer === undefined ? {} : { layer }) },
        }
      : { method: given.method }),
    tuning: given.tuning ?? { type: 'lora' },
    data: {
      train: files.map((file) => join(folder, file)),
      minWords: 3,
      ...(supervised
        ? { sets: { triples: { kind: 'triplets', path: join(data, 'SNLI', 'triples.dev.tsv') } } }
        : {}),
    },
    stages: Object.fromEntries(stages.map(([stage, config]) => [stage, { ...config, maxSteps: steps }])),
    evaluate: { tasks: ['STSb'], folder: data, everyNthRow: 12, everySteps: steps },
    export: given.export ?? { files: [] },
    train: { threads: 2, device: 'cpu', checkpointEverySteps: steps, ...given.train },
    output: join(output, 'run'),
  };
}

export function titleOf(name: string): string {
  return named[name]?.title ?? name;
}

interface CaseConfig {
  readonly stage?: Record<string, unknown>;
  readonly stages?: Record<string, Record<string, unknown>>;
  readonly train?: object;
  readonly tuning?: object;
  readonly pooling?: object;
  readonly export?: object;
  readonly method?: string;
  readonly attention?: string;
  readonly residentPrecision?: string;
  readonly data?: 'long';
}
