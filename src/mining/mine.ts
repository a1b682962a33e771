import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { RankedExample } from '../data/examples.js';
import type { Embeddings } from '../pooling/packed-encoder.js';
import { userError } from '../shared/errors.js';
import { atPath, exists, writeAt, writeFileAtomic } from '../shared/files.js';
import type { Hits } from './best-documents.js';
import { ceilingOf, chooseNegatives, type NegativeChoice } from './choose-negatives.js';
import { exactSearch } from './search.js';
import { storedVectors } from './vector-store.js';

/** What gives the scores. */
export interface Teacher {
  readonly dimensions: number;
  /** Names this state of the model: other vectors are another teacher's. */
  readonly revision: string;
  /** Unit vectors [N, E]. */
  encodeQueries(texts: readonly string[]): Promise<Embeddings>;
  encodeDocuments(texts: readonly string[]): Promise<Embeddings>;
}

export interface MineOptions extends NegativeChoice {
  readonly examples: readonly RankedExample[];
  /** Further texts that may become negatives, beside all positives and negatives of the examples. */
  readonly corpus?: readonly string[];
  readonly teacher: Teacher;
  /** A .jsonl file of {query, positive, negatives, scores}. */
  readonly output: string;
  readonly threads?: number;
  readonly onProgress?: (phase: string, done: number, all: number) => void;
}

export interface MineResult {
  readonly examples: number;
  readonly negatives: number;
  /** Examples that got fewer negatives than asked for. */
  readonly short: number;
  /** Examples that got none: they are written all the same. */
  readonly without: number;
}

/**
 * Mines hard negatives: every document is scored for every query by the teacher, exactly, and the best that are not too good become negatives.
 * What is done is kept beside the output (`OUTPUT.work/`) until all is: a run that was stopped goes on, and gives the same file.
 */
export async function mine(options: MineOptions): Promise<MineResult> {
  const { examples, teacher, output, onProgress } = options;
  if (examples.length === 0) throw userError({ what: 'no examples to mine for' });
  const texts = uniqueTexts(options);
  const folder = `${output}.work`;
  await mkdir(dirname(output), { recursive: true });
  await prepareFolder(folder, settingsOf(options, texts));
  const stored = (name: string, list: readonly string[], encode: Teacher['encodeQueries']) =>
    storedVectors(join(folder, `${name}.f32`), list, {
      encode,
      dimensions: teacher.dimensions,
      onProgress: (done) => onProgress?.(`embedding ${name}`, done, list.length),
    });
  const queries = await stored('queries', texts.queries, (list) => teacher.encodeQueries(list));
  const documents = await stored('documents', texts.documents, (list) => teacher.encodeDocuments(list));
  const lines = await openLines(folder);
  const { threads } = options;
  let { done, counts } = lines;
  const found = exactSearch(queries, documents, {
    // The positives that a query is known to have are passed over in the search itself.
    most: options.range[1],
    from: done,
    skip: texts.known,
    ceilings: ceilingsOf({ options, texts, queries, documents }),
    ...(threads === undefined ? {} : { threads }),
  });
  try {
    for await (const block of found) {
      let written = '';
      for (const [row, hits] of block.entries()) {
        for (const example of texts.examplesOf[done + row] ?? []) {
          const line = minedLine(example, hits, { options, texts, queries, documents, query: done + row });
          counts = add(counts, line.negatives, options.negatives);
          written += `${line.json}\n`;
        }
      }
      done += block.length;
      await lines.append(written, { done, counts });
      onProgress?.('searching', done, texts.queries.length);
    }
  } finally {
    await lines.close();
  }
  await rename(lines.path, output);
  await rm(folder, { recursive: true });
  return counts;
}

interface UniqueTexts {
  readonly queries: readonly string[];
  readonly documents: readonly string[];
  readonly documentNumbers: ReadonlyMap<string, number>;
  /** By query: its examples, and the numbers of documents that are no negatives: its positives and the query's own text. */
  readonly examplesOf: readonly (readonly number[])[];
  readonly known: readonly ReadonlySet<number>[];
}

function uniqueTexts({ examples, corpus = [] }: MineOptions): UniqueTexts {
  const queryNumbers = new Map<string, number>();
  const documentNumbers = new Map<string, number>();
  const number = (numbers: Map<string, number>, text: string): number => {
    const known = numbers.get(text);
    if (known !== undefined) return known;
    numbers.set(text, numbers.size);
    return numbers.size - 1;
  };
  const examplesOf: number[][] = [];
  const known: Set<number>[] = [];
  for (const [index, { query, positive, negatives }] of examples.entries()) {
    const of = number(queryNumbers, query);
    (examplesOf[of] ??= []).push(index);
    (known[of] ??= new Set()).add(number(documentNumbers, positive));
    for (const negative of negatives) number(documentNumbers, negative);
  }
  for (const text of corpus) number(documentNumbers, text);
  for (const [query, of] of queryNumbers) {
    const itself = documentNumbers.get(query);
    if (itself !== undefined) known[of]?.add(itself);
  }
  return {
    queries: [...queryNumbers.keys()],
    documents: [...documentNumbers.keys()],
    documentNumbers,
    examplesOf,
    known,
  };
}

interface MineContext {
  readonly options: MineOptions;
  readonly texts: UniqueTexts;
  readonly queries: Embeddings;
  readonly documents: Embeddings;
}

/** By query: what is too good for a negative of any of its positives. */
function ceilingsOf(context: MineContext): Float32Array {
  const { options, texts, queries } = context;
  return Float32Array.from({ length: queries.rows }, (_, query) => {
    const indices = texts.examplesOf[query] ?? [];
    return Math.min(...indices.map((index) => ceilingOf(positiveScore(context, query, index), options)));
  });
}

function positiveScore(
  { options, texts, queries, documents }: MineContext,
  query: number,
  index: number,
): number {
  const { positive } = options.examples[index] as RankedExample;
  return dot(queries, query, documents, texts.documentNumbers.get(positive) ?? 0);
}

function minedLine(
  index: number,
  hits: Hits,
  context: MineContext & { readonly query: number },
): { readonly json: string; readonly negatives: number } {
  const { options, texts } = context;
  const { query, positive } = options.examples[index] as RankedExample;
  const score = positiveScore(context, context.query, index);
  const chosen = chooseNegatives(hits, score, { ...options, key: index });
  const line = {
    query,
    positive,
    negatives: [...chosen.documents].map((document) => texts.documents[document]),
    scores: [score, ...chosen.scores].map((value) => Number(value.toFixed(5))),
  };
  return { json: JSON.stringify(line), negatives: chosen.documents.length };
}

function dot(a: Embeddings, row: number, b: Embeddings, column: number): number {
  let sum = 0;
  for (let i = 0; i < a.dimensions; i++)
    sum += (a.data[row * a.dimensions + i] as number) * (b.data[column * b.dimensions + i] as number);
  return sum;
}

function add(counts: MineResult, negatives: number, asked: number): MineResult {
  return {
    examples: counts.examples + 1,
    negatives: counts.negatives + negatives,
    short: counts.short + (negatives < asked ? 1 : 0),
    without: counts.without + (negatives === 0 ? 1 : 0),
  };
}

/** Hash of all that the result depends on. */
function settingsOf(options: MineOptions, { queries, documents }: UniqueTexts): string {
  const { teacher, negatives, range, shareOfPositive, margin, highest, lowest, sampling, seed } = options;
  const hash = createHash('sha256');
  hash.update(
    JSON.stringify([
      teacher.revision,
      negatives,
      range,
      shareOfPositive,
      margin,
      highest,
      lowest,
      sampling,
      seed,
    ]),
  );
  for (const text of [...queries, '', ...documents]) hash.update(`${text.length}:${text}`);
  for (const { query, positive } of options.examples) hash.update(`${query}\0${positive}\0`);
  return hash.digest('hex');
}

/** Begins anew where what is there was made with other settings. */
async function prepareFolder(folder: string, settings: string): Promise<void> {
  const path = join(folder, 'settings');
  const before = await readFile(path, 'utf8').catch(() => undefined);
  if (before === settings) return;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await writeFileAtomic(path, settings);
}

interface State {
  /** Queries that are searched. */
  readonly done: number;
  readonly counts: MineResult;
}

/** The lines so far, and how far they go: a part of a block that was written is cut. */
async function openLines(folder: string) {
  const [path, statePath] = [join(folder, 'lines.jsonl'), join(folder, 'state.json')];
  const zero = { done: 0, bytes: 0, counts: { examples: 0, negatives: 0, short: 0, without: 0 } };
  const begun = (await exists(statePath)) && (await exists(path));
  const state = begun ? (JSON.parse(await readFile(statePath, 'utf8')) as typeof zero) : zero;
  const file = await open(path, begun ? 'r+' : 'w');
  await file.truncate(state.bytes);
  let { bytes } = state;
  return {
    path,
    done: state.done,
    counts: state.counts as MineResult,
    append: async (text: string, { done, counts }: State): Promise<void> => {
      const content = Buffer.from(text, 'utf8');
      await writeAt(file, content, bytes).catch((error: unknown) => {
        throw atPath(error, () => path);
      });
      // A state that outlives a power cut must not tell of lines that did not.
      await file.datasync();
      bytes += content.length;
      await writeFileAtomic(statePath, JSON.stringify({ done, bytes, counts }));
    },
    close: async (): Promise<void> => {
      await file.sync();
      await file.close();
    },
  };
}
