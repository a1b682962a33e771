import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { openSafetensors } from '../src/models/weights/safetensors.js';
import { createLogger } from '../src/shared/logger.js';
import { packageFolder } from '../src/shared/package.js';
import { readMetrics } from '../src/recipes/metrics.js';

/** What both sides get. */
const shape = {
  dimensions: 100,
  window: 5,
  negatives: 5,
  subsample: 1e-3,
  learningRate: 0.025,
  minimumCount: 5,
};
const architectures = ['skipGram', 'cbow'] as const;
type Architecture = (typeof architectures)[number];
const batchTexts = 1000;

interface Settings {
  readonly data: string;
  readonly files: string;
  readonly epochs: number;
  readonly seeds: number;
  readonly workers: number;
}

interface Trained {
  readonly vectors: string;
  readonly wordsPerSecond: number;
}

interface Score {
  readonly spearman: number;
  readonly unknownPercent: number;
}
type Scores = Readonly<Record<'wordSim353' | 'simLex999', Score>>;

const log = createLogger();

/** `lmvec train` beside gensim's Word2Vec, on the same words: Spearman on word pairs, words a second. The last line is the result as JSON. */
async function run(settings: Settings): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'lmvec-bench-word2vec-'));
  try {
    const corpus = join(folder, 'corpus.txt');
    const sentences = await writeCorpus(corpus, settings);
    log.info(`${sentences} sentences, ${settings.epochs} epochs`);
    const result: Record<string, unknown> = { sentences, epochs: settings.epochs, seeds: settings.seeds };
    for (const architecture of architectures) {
      const sides = { ours: [] as Trained[], gensim: [] as Trained[] };
      for (let seed = 1; seed <= settings.seeds; seed++) {
        const job = { ...settings, folder, corpus, sentences, architecture, seed };
        sides.gensim.push(await trainGensim(job));
        sides.ours.push(await trainOurs(job));
      }
      result[architecture] = { ours: summary(sides.ours), gensim: summary(sides.gensim) };
      log.info(`${architecture}: ${JSON.stringify(result[architecture])}`);
    }
    console.log(JSON.stringify(result));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** One sentence a line; its words, in lower case, between spaces: the same ones for both sides. */
async function writeCorpus(path: string, { data, files }: Settings): Promise<number> {
  const lines: string[] = [];
  for (const file of files.split(',')) {
    for (const line of (await readFile(join(data, 'corpus', `${file}.txt`), 'utf8')).split('\n')) {
      const words = line.toLowerCase().match(/[\p{L}\p{M}\p{N}]+(?:['\u2019][\p{L}\p{M}\p{N}]+)*/gu) ?? [];
      if (words.length >= 2) lines.push(words.join(' '));
    }
  }
  const different = [...new Set(lines)];
  await writeFile(path, `${different.join('\n')}\n`);
  return different.length;
}

interface Job extends Settings {
  readonly folder: string;
  readonly corpus: string;
  readonly sentences: number;
  readonly architecture: Architecture;
  readonly seed: number;
}

async function trainOurs(job: Job): Promise<Trained> {
  const output = join(job.folder, `${job.architecture}-${job.seed}`);
  const steps = Math.round((job.epochs * job.sentences) / batchTexts);
  const overrides = {
    output,
    'data.train': job.corpus,
    'model.initialise.hidden_size': shape.dimensions,
    'model.initialise.minimumCount': shape.minimumCount,
    'stages.words.architecture': job.architecture,
    'stages.words.window': shape.window,
    'stages.words.negatives': shape.negatives,
    'stages.words.subsample': shape.subsample,
    'stages.words.learningRate': shape.learningRate,
    'stages.words.batchTexts': batchTexts,
    'stages.words.maxSteps': steps,
    'evaluate.everySteps': steps,
    'train.seed': job.seed,
    'train.checkpointEverySteps': steps,
  };
  const lmvec = join(packageFolder, 'dist/scripts/lmvec.js');
  const set = Object.entries(overrides).map(([key, value]) => `${key}=${value}`);
  const config = join(packageFolder, 'configs/word2vec.yaml');
  execFileSync(process.execPath, [lmvec, 'train', '--config', config, ...set], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  let words = 0;
  let seconds = 0;
  for (const record of await readMetrics(join(output, 'metrics.jsonl'))) {
    if (record.kind !== 'step') continue;
    words += record['tokens'] as number;
    seconds += (record['tokens'] as number) / (record['tokensPerSecond'] as number);
  }
  const vectors = `${output}.txt`;
  await writeVectors(join(output, 'last'), vectors);
  return { vectors, wordsPerSecond: words / seconds };
}

/** A trained folder in word2vec's text format. */
async function writeVectors(folder: string, path: string): Promise<void> {
  const tokenizer = JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8')) as {
    readonly model: { readonly vocab: Readonly<Record<string, number>> };
  };
  const file = await openSafetensors(join(folder, 'model.safetensors'));
  const name = 'model.embed_tokens.weight';
  const table = await file.read(name);
  const D = file.info(name)?.shape[1] as number;
  await file.close();
  // Id 0 is the unknown word.
  const words = Object.entries(tokenizer.model.vocab).filter(([, id]) => id > 0);
  const rows = words.map(([word, id]) => `${word} ${table.subarray(id * D, (id + 1) * D).join(' ')}`);
  await writeFile(path, `${words.length} ${D}\n${rows.join('\n')}\n`);
}

async function trainGensim(job: Job): Promise<Trained> {
  const vectors = join(job.folder, `gensim-${job.architecture}-${job.seed}.txt`);
  const path = join(job.folder, 'job.json');
  await writeFile(path, JSON.stringify({ ...shape, ...job, vectors }));
  const { words, seconds } = python(['train', path]) as { words: number; seconds: number };
  return { vectors, wordsPerSecond: words / seconds };
}

/** Spearman and words a second, each the mean over the seeds. */
function summary(trained: readonly Trained[]): Record<string, number> {
  const scores = python(['judge', ...trained.map(({ vectors }) => vectors)]) as Scores[];
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    wordSim353: Number(mean(scores.map(({ wordSim353 }) => wordSim353.spearman)).toFixed(4)),
    simLex999: Number(mean(scores.map(({ simLex999 }) => simLex999.spearman)).toFixed(4)),
    wordsPerSecond: Math.round(mean(trained.map(({ wordsPerSecond }) => wordsPerSecond))),
  };
}

function python(parameters: readonly string[]): unknown {
  const script = join(packageFolder, 'bench/peers/word2vec.py');
  const command = process.env['PEER_PYTHON_GENSIM'] ?? 'python3';
  const output = execFileSync(command, [script, ...parameters], {
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });
  return JSON.parse(output.toString().trim().split('\n').at(-1) as string);
}

const settings = await yargs(hideBin(process.argv))
  .option('data', { type: 'string', demandOption: true, describe: 'folder with corpus/NAME.txt' })
  .option('files', {
    type: 'string',
    default: 'brown,wikisplit,abc_news,masc',
    describe: 'names of corpus files',
  })
  .option('epochs', { type: 'number', default: 5 })
  .option('seeds', { type: 'number', default: 1, describe: 'runs of each side, whose scores are averaged' })
  .option('workers', { type: 'number', default: 1, describe: "gensim's threads; ours has one" })
  .strict()
  .parseAsync();
await run(settings);
