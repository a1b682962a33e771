import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { loadDecoder } from '../src/models/decoder.js';
import { residentPrecisionSchema, tuningSchema, type ResidentPrecision } from '../src/models/schema.js';
import { openDecoder } from '../src/models/weights/index.js';
import { exists } from '../src/shared/files.js';
import { stageSchema } from '../src/training/schema.js';
import { stageFactory } from '../src/training/stage.js';
import { nodeCommand, ownPeakRssGb } from './processes.js';
import { writeRandomFolder, writeRandomGguf } from './random-models.js';

/** Random models of known shapes. A limit is in bytes, over the file's size or in all. */
const models = {
  // meta-llama/Llama-3.2-1B, with our tokenizer
  'llama-3.2-1b': {
    path: 'llama-3.2-1b-bf16',
    weights: 'llama-3.2-1b-bf16/model.safetensors',
    write: (path: string) => writeRandomFolder(path, llama1b, 'BF16'),
    limit: (fileBytes: number) => fileBytes + 2e9,
  },
  // mistralai/Mistral-7B-v0.1
  'mistral-7b': {
    path: 'mistral-7b.Q4_0.gguf',
    weights: 'mistral-7b.Q4_0.gguf',
    write: (path: string) => writeRandomGguf(path, mistral7b),
    limit: () => 10e9,
  },
} as const;
type ModelName = keyof typeof models;

const llama1b = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 128256,
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
  hidden_act: 'silu',
  max_position_embeddings: 131072,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  rope_scaling: {
    rope_type: 'llama3',
    factor: 32,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  },
  tie_word_embeddings: true,
  attention_bias: false,
  mlp_bias: false,
  bos_token_id: 0,
  eos_token_id: 0,
  torch_dtype: 'bfloat16',
};

const mistral7b = {
  hidden: 4096,
  feedForward: 14336,
  layers: 32,
  heads: 32,
  keyHeads: 8,
  vocabulary: 32000,
  context: 32768,
};

/** Short texts of made-up content. */
const TEXTS = [
  'A man is playing a guitar.',
  'The river rose over its banks in the night.',
  'Two dogs run along the beach.',
  'Prices fell for the third month in a row.',
  'She read the letter twice and put it away.',
  'The train to the coast was late again.',
  'Scientists have found water under the ice.',
  'He cut the bread and put the kettle on.',
];

interface Arguments {
  readonly model: ModelName;
  readonly folder: string;
  readonly steps: number;
  readonly texts: number;
  readonly threads: number;
  readonly precision: ResidentPrecision;
  readonly memory: number | undefined;
}

/** Trains LoRA (SimCSE) on a random model of a known shape and reports seconds and peak memory as JSON. */
async function step({ model, folder, steps, texts, threads, precision, memory }: Arguments): Promise<void> {
  const { path, weights, limit } = models[model];
  const start = performance.now();
  const seconds = (): number => Math.round((performance.now() - start) / 100) / 10;
  const source = await openDecoder(join(folder, path));
  const decoder = await loadDecoder(source, { residentPrecision: precision });
  await source.weights.close();
  const loaded = seconds();
  const loadPeak = await ownPeakRssGb();
  console.error(`loaded in ${loaded} s, peak ${loadPeak.toFixed(2)} GB`);
  const stage = stageSchema.parse({
    objective: 'simcse',
    maxSteps: Math.max(1, steps),
    batchTexts: texts,
    maxTokens: 32,
    learningRate: 1e-4,
  });
  const createStage = stageFactory({
    decoder,
    recipe: {
      attention: 'bidirectional',
      window: 'keep',
      pooling: { type: 'mean', layer: -1 },
      maxTokens: 32,
    },
    tuning: tuningSchema.parse({ type: 'lora' }),
    seed: 1,
    threads,
    ...(memory === undefined ? {} : { memory }),
    data: { sentences: TEXTS, documents: none },
    save: () => Promise.resolve(),
  });
  const runner = await createStage({ name: 'simcse', stage, previous: [] });
  const { memoryEstimate, savePolicy, trainableParameters } = await runner.describe();
  const losses: number[] = [];
  for (let index = 0; index < steps; index++) {
    const { loss, tokens } = await runner.step(index);
    losses.push(loss);
    console.error(`step ${index}: loss ${loss.toFixed(4)}, ${tokens} tokens, ${seconds()} s since the start`);
  }
  const peakRssGb = await ownPeakRssGb();
  const fileBytes = (await stat(join(folder, weights))).size;
  const limitGb = limit(fileBytes) / 1e9;
  const result = {
    model,
    precision,
    threads,
    fileGb: fileBytes / 1e9,
    loadSeconds: loaded,
    loadPeakGb: loadPeak,
    steps,
    seconds: seconds(),
    losses,
    savePolicy,
    trainableParameters,
    estimateGb: memoryEstimate / 1e9,
    peakRssGb,
    limitGb,
    fits: peakRssGb <= limitGb,
  };
  await runner.dispose();
  console.log(JSON.stringify(result));
}

async function* none(): AsyncGenerator<string> {
  // No stage here reads running text.
}

/** In a process of its own: writing must not count in the peak. */
async function writeApart(given: Arguments): Promise<void> {
  const { command, arguments: before } = nodeCommand(import.meta.url, './resident');
  const words = [given.model, '--folder', given.folder, '--only-write'];
  const child = spawn(command, [...before, ...words], { stdio: 'inherit' });
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0) throw new Error(`writing the model ended with ${String(status)}`);
}

const argv = await yargs(hideBin(process.argv))
  .command('$0 <model>', 'LoRA on a random model of a known shape: seconds and peak memory')
  .positional('model', { choices: Object.keys(models) as ModelName[], demandOption: true })
  .option('folder', { type: 'string', default: join(tmpdir(), 'lmvec-resident') })
  .option('steps', { type: 'number', default: 2 })
  .option('texts', { type: 'number', default: 4 })
  .option('threads', { type: 'number', default: 2 })
  .option('precision', { choices: residentPrecisionSchema.options, default: 'stored' as const })
  .option('memory', { type: 'number', describe: 'bytes, as train.memory' })
  .option('only-write', { type: 'boolean', default: false })
  .option('keep', { type: 'boolean', default: false, describe: 'leave the model where it is' })
  .strict()
  .parseAsync();
const given = { ...argv, memory: argv.memory };
const { path: name, write } = models[given.model];
const path = join(given.folder, name);
if (given.onlyWrite) await write(path);
else {
  const there = (await exists(join(path, 'config.json'))) || (name.endsWith('.gguf') && (await exists(path)));
  if (!there) await writeApart(given);
  await step(given);
  if (!given.keep) await rm(path, { recursive: true, force: true });
}
