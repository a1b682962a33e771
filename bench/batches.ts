import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTokenizer } from '../src/data/tokenizer.js';
import { openDecoder } from '../src/models/weights/index.js';
import { assertNever, userError } from '../src/shared/errors.js';
import { permutation, randomStream } from '../src/shared/random.js';
import type { Bench, JobBatch } from './jobs.js';

const corpora = ['wikisplit.txt', 'brown.txt', 'masc.txt'];

export interface BatchRequest {
  readonly bench: Bench;
  readonly data: string;
  readonly model: string;
  readonly seed: number;
  /** How many batches; `sts` gives the whole test set once, after repeating its first batch for each warm-up. */
  readonly count: number;
  readonly warmup: number;
}

/** The batches of a bench: a pure function of the data, the model's tokenizer and the seed. */
export async function makeBatches(request: BatchRequest): Promise<JobBatch[]> {
  const { bench, count } = request;
  switch (bench.work) {
    case 'corpus':
      return groups(await sentences(request), bench.batchTexts, count).map((texts) => ({ texts }));
    case 'dense':
      return groups(randomRows(request), bench.batchTexts, count).map((ids) => ({ ids }));
    case 'chunks':
      return groups(await corpusChunks(request), bench.batchTexts, count).map((ids) => ({ ids }));
    case 'sts': {
      const texts = await stsSentences(request.data);
      const measured = groups(texts, bench.batchTexts, Math.ceil(texts.length / bench.batchTexts)).map(
        (texts) => ({ texts }),
      );
      return [...measured.slice(0, request.warmup), ...measured];
    }
    default:
      return assertNever(bench.work);
  }
}

function groups<T>(items: readonly T[], size: number, count: number): T[][] {
  return Array.from({ length: count }, (_, i) => items.slice(i * size, (i + 1) * size));
}

async function sentences({ data, seed }: BatchRequest): Promise<string[]> {
  const files = await Promise.all(corpora.map((name) => readText(join(data, 'corpus', name))));
  const lines = files
    .flatMap((file) => file.split('\n').map((line) => line.trim()))
    .filter((line) => line !== '');
  return [...permutation(lines.length, seed)].map((i) => lines[i] ?? '');
}

/** Rows of random ordinary tokens (ids 5 to 49,151 are ordinary in SmolLM2's vocabulary), nothing padded. */
function randomRows({ bench, count, seed }: BatchRequest): number[][] {
  const random = randomStream(seed);
  const row = (): number[] => Array.from({ length: bench.maxTokens }, () => 5 + random.integer(49152 - 5));
  return Array.from({ length: bench.batchTexts * count }, row);
}

/** Shuffled sentences laid end to end, cut into chunks of `maxTokens`, as LLM2Vec's MNTP groups its texts. */
async function corpusChunks(request: BatchRequest): Promise<number[][]> {
  const { bench, count, model } = request;
  const wanted = bench.batchTexts * count;
  const source = await openDecoder(model);
  try {
    const tokenizer = createTokenizer(source.tokenizer.json, source.tokenizer.config);
    const ids: number[] = [];
    for (const sentence of await sentences(request)) {
      if (ids.length >= wanted * bench.maxTokens) break;
      ids.push(...tokenizer.encode(`${sentence}\n`));
    }
    return groups(ids, bench.maxTokens, wanted);
  } finally {
    await source.weights.close();
  }
}

/** Both sentences of every pair of STSb's test set, in the file's order. */
async function stsSentences(data: string): Promise<string[]> {
  const rows = (await readText(join(data, 'STSb', 'test.tsv'))).split('\n').slice(1);
  return rows
    .flatMap((row) => row.split('\t').slice(1, 3))
    .map((text) => text.trim())
    .filter((text) => text !== '');
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    throw userError({
      what: 'bench data not found',
      where: path,
      hint: '--data is a folder with corpus/ and STSb/',
    });
  }
}
