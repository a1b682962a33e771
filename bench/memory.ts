import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { savePolicies, type SavePolicy } from '../src/compiler/split.js';
import { trainBpe } from '../src/data/train-bpe.js';
import { loadDecoder } from '../src/models/decoder.js';
import { parseDecoderConfig } from '../src/models/families/index.js';
import { llamaShapeSchema, llamaConfig } from '../src/models/initialise.js';
import { tuningSchema } from '../src/models/schema.js';
import { weightShapes } from '../src/models/weight-shapes.js';
import type { DecoderSource } from '../src/models/weights/types.js';
import { internalError } from '../src/shared/errors.js';
import { randomStream } from '../src/shared/random.js';
import { stageSchema } from '../src/training/schema.js';
import { stageFactory } from '../src/training/stage.js';
import { nodeCommand, ownPeakRssGb, runSide } from './processes.js';

/** One training set-up whose memory is measured in a process of its own. */
interface MemoryCase {
  readonly size: keyof typeof sizes;
  readonly objective: 'simcse' | 'mntp';
  readonly tuning: 'lora' | 'full';
  readonly policy: SavePolicy;
  readonly threads: number;
  readonly batchTexts: number;
}

const sizes = {
  tiny: { hidden_size: 64, intermediate_size: 176, num_hidden_layers: 2, vocab_size: 512 },
  middle: { hidden_size: 512, intermediate_size: 1408, num_hidden_layers: 8, vocab_size: 8192 },
} as const;

const steps = 4;

/** Prints the estimate and the measured peak of small set-ups: node dist/bench/memory.js [--sizes tiny,middle] [--batch 32]. */
async function main(): Promise<void> {
  const settings = await yargs(hideBin(process.argv))
    .option('sizes', { type: 'string', default: Object.keys(sizes).join(',') })
    .option('objectives', { type: 'string', default: 'simcse' })
    .option('tunings', { type: 'string', default: 'lora,full' })
    .option('policies', { type: 'string', default: savePolicies.join(',') })
    .option('threads', { type: 'string', default: '1,2' })
    .option('batch', { type: 'number', default: 32, describe: 'texts of a batch' })
    .option('case', { type: 'string', hidden: true })
    .strict()
    .parseAsync();
  if (settings.case !== undefined) return measure(JSON.parse(settings.case) as MemoryCase);
  console.log(
    '| size | objective | tuning | policy | threads | estimate GB | peak GB | estimate / peak |\n|---|---|---|---|---:|---:|---:|---:|',
  );
  for (const one of casesOf(settings)) {
    const { command, arguments: words } = nodeCommand(import.meta.url, './memory');
    const outcome = await runSide({
      label: 'memory',
      command,
      arguments: [...words, '--case', JSON.stringify(one)],
      environment: {},
      memoryLimitGb: 8,
    });
    if (outcome.status !== 'done') throw new Error(JSON.stringify(outcome));
    const { estimateGb, peakRssGb } = outcome.report as unknown as { estimateGb: number; peakRssGb: number };
    const { size, objective, tuning, policy, threads } = one;
    const ratio = (estimateGb / peakRssGb).toFixed(2);
    console.log(
      `| ${size} | ${objective} | ${tuning} | ${policy} | ${threads} | ${estimateGb.toFixed(3)} | ${peakRssGb.toFixed(3)} | ${ratio} |`,
    );
  }
}

function casesOf(settings: {
  readonly sizes: string;
  readonly objectives: string;
  readonly tunings: string;
  readonly policies: string;
  readonly threads: string;
  readonly batch: number;
}): MemoryCase[] {
  let cases: Record<string, unknown>[] = [{ batchTexts: settings.batch }];
  const axis = (name: string, values: readonly unknown[]): void => {
    cases = cases.flatMap((one) => values.map((value) => ({ ...one, [name]: value })));
  };
  axis('size', settings.sizes.split(','));
  axis('objective', settings.objectives.split(','));
  axis('tuning', settings.tunings.split(','));
  axis('threads', settings.threads.split(',').map(Number));
  axis('policy', settings.policies.split(','));
  return cases as unknown as MemoryCase[];
}

/** A few steps as `train` makes them; the last line of standard output is estimate and peak, what grows when goes to standard error. */
async function measure({ size, objective, tuning, policy, threads, batchTexts }: MemoryCase): Promise<void> {
  const sentences = texts();
  const decoder = await loadDecoder(randomDecoder(size, sentences));
  const log = (when: string): void => {
    const { rss, heapTotal, external, arrayBuffers } = process.memoryUsage();
    const parts = Object.entries({ rss, heapTotal, external, arrayBuffers });
    console.error(
      `${when}: ${parts.map(([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(0)}`).join(', ')} MB`,
    );
  };
  log('decoder loaded');
  const maxTokens = 64;
  const createStage = stageFactory({
    decoder,
    recipe: {
      attention: 'bidirectional',
      window: 'keep',
      pooling: { type: 'mean', layer: -1 },
      maxTokens,
    },
    tuning: tuningSchema.parse(
      tuning === 'lora' ? { type: 'lora', rank: 16, dropout: 0.05 } : { type: 'full' },
    ),
    seed: 1,
    threads,
    memory: 1e12,
    savePolicy: policy,
    data: { sentences, documents: () => linesOf(sentences) },
    save: () => Promise.reject(internalError('a bench saves nothing')),
  });
  const stage = stageSchema.parse({
    objective,
    maxSteps: steps,
    batchTexts: objective === 'mntp' ? Math.ceil(batchTexts / 2) : batchTexts,
    maxTokens,
    learningRate: 1e-5,
    attentionDropout: 0.1,
  });
  const runner = await createStage({ name: 'memory', stage, previous: [] });
  const { memoryEstimate } = await runner.describe();
  log('stage made');
  await runner.encode(sentences.slice(0, 800));
  log('evaluated');
  for (let step = 0; step < steps; step++) {
    const { multipliedTokens } = await runner.step(step);
    log(`step ${step}, ${multipliedTokens} tokens`);
  }
  const peakRssGb = await ownPeakRssGb();
  await runner.dispose();
  console.log(JSON.stringify({ estimateGb: memoryEstimate / 1e9, peakRssGb }));
}

/** A Llama whose weights are random numbers, made tensor by tensor as a file is read. */
function randomDecoder(size: keyof typeof sizes, sentences: readonly string[]): DecoderSource {
  const shape = llamaShapeSchema.parse({
    family: 'llama',
    ...sizes[size],
    num_attention_heads: 8,
    num_key_value_heads: 4,
  });
  const config = llamaConfig(shape);
  const shapes = weightShapes(parseDecoderConfig(config, size));
  shapes.delete('lm_head.weight');
  return {
    path: size,
    format: 'folder',
    config,
    tokenizer: trainBpe(sentences, { vocabularySize: 280, maximumLength: 512 }),
    weights: {
      names: [...shapes.keys()],
      info: (name) => {
        const own = shapes.get(name);
        return own === undefined ? undefined : { name, shape: own, storedType: 'F32' };
      },
      read: (name) => {
        const own = shapes.get(name) ?? [];
        const random = randomStream(own.length);
        const values = new Float32Array(own.reduce((product, length) => product * length, 1));
        for (let i = 0; i < values.length; i++)
          values[i] = own.length === 1 ? 1 : 0.04 * (random.uniform() - 0.5);
        return Promise.resolve(values);
      },
      close: () => Promise.resolve(),
    },
  };
}

/** Sentences of 5 to 24 words. */
function texts(): string[] {
  const words = [
    'the',
    'cat',
    'dog',
    'sat',
    'on',
    'mat',
    'and',
    'then',
    'a',
    'bird',
    'flew',
    'over',
    'that',
    'house',
  ];
  const random = randomStream(5);
  return Array.from({ length: 2000 }, () =>
    Array.from({ length: 5 + random.integer(20) }, () => words[random.integer(words.length)]).join(' '),
  );
}

// eslint-disable-next-line @typescript-eslint/require-await
async function* linesOf(sentences: readonly string[]): AsyncGenerator<string> {
  for (const sentence of sentences) yield* [sentence, ''];
}

await main();
