import { userError } from '../shared/errors.js';
import { hashKey, hashString, permutation } from '../shared/random.js';
import { classExamples, type LabelledText } from './class-examples.js';
import type { ExampleSetConfig } from './example-schema.js';
import { listedExamples, type Example, type ExampleSet } from './examples.js';
import { columnsOf, readRows, type DataRow } from './rows.js';
import { dataFiles } from './texts.js';
import { isWordNetPairSet, wordNetClassSet, wordNetDomains, wordNetPairs } from './wordnet-pairs.js';

export interface ReadExamplesOptions {
  readonly name: string;
  readonly seed: number;
  /** Texts that must not be trained on (`contaminationTest`). */
  readonly exclude?: (text: string) => boolean;
}

/** A set that was read, and what was left out of it. */
export interface ReadExamples {
  readonly set: ExampleSet;
  readonly dropped: { readonly excluded: number; readonly notChosen: number };
}

/**
 * Reads a set of examples from its files. An example with an excluded text is dropped; an excluded negative is dropped alone.
 * @throws UserError naming `file:line` where a row is not an example, or where none is left
 */
export async function readExamples(
  config: ExampleSetConfig,
  options: ReadExamplesOptions,
): Promise<ReadExamples> {
  const { name, seed, exclude = () => false } = options;
  if (config.kind === 'classes') {
    const items = await readLabelled(config);
    const kept = items.filter(({ text }) => !exclude(text));
    const chosen = choose(kept, config.maxExamples, hashKey(seed, hashString(name)));
    return {
      set: classExamples(name, chosen, hashKey(seed, hashString(name))),
      dropped: { excluded: items.length - kept.length, notChosen: kept.length - chosen.length },
    };
  }
  const examples: Example[] = [];
  let excluded = 0;
  for await (const example of allExamples(config)) {
    const clean = withoutExcluded(example, exclude);
    if (clean === undefined) excluded += 1;
    else examples.push(clean);
  }
  if (examples.length === 0) {
    throw userError({
      what: 'no example to train on',
      where: `data.sets.${name}`,
      got: excluded === 0 ? 'no rows' : `${excluded} examples with texts of evaluation sets`,
    });
  }
  const key = hashKey(seed, hashString(name));
  const chosen = choose(examples, config.maxExamples, key);
  const randomNegatives = config.kind === 'scoredPairs' ? 0 : config.randomNegatives;
  return {
    set: listedExamples(name, chosen, { randomNegatives, seed: key }),
    dropped: { excluded, notChosen: examples.length - chosen.length },
  };
}

type RankedConfig = Extract<ExampleSetConfig, { readonly kind: 'pairs' | 'triplets' | 'tuples' }>;
type ScoredConfig = Extract<ExampleSetConfig, { readonly kind: 'scoredPairs' }>;
type ClassesConfig = Extract<ExampleSetConfig, { readonly kind: 'classes' }>;

async function* allExamples(config: RankedConfig | ScoredConfig): AsyncGenerator<Example> {
  for (const path of config.path) {
    if (isWordNetPairSet(path)) {
      yield* await wordNetPairs(path);
      continue;
    }
    for (const file of await dataFiles(path)) {
      if (config.kind === 'scoredPairs') yield* scoredExamples(config, file);
      else yield* rankedExamples(config, file);
    }
  }
}

async function* rankedExamples(config: RankedConfig, path: string): AsyncGenerator<Example> {
  const columns = await rankedColumns(config, path);
  const { query, positive, negatives, teacherScores } = columns;
  const asked = [query, positive, ...negatives, ...(teacherScores === undefined ? [] : [teacherScores])];
  for await (const row of readRows(path, { columns: asked })) {
    // Not every tuple of a table has as many negatives as the longest.
    const given = config.kind === 'tuples' ? negatives.filter((column) => !isBlank(row, column)) : negatives;
    const negativeTexts = given.flatMap((column) => textsAt(row, column));
    const teacher = teacherScores === undefined ? undefined : numbersAt(row, teacherScores);
    if (teacher !== undefined && teacher.length !== negativeTexts.length + 1) {
      throw userError({
        what: `wrong number of teacher scores in ${teacherScores ?? ''}`,
        where: row.where,
        got: String(teacher.length),
        expected: `${negativeTexts.length + 1}: one for the positive, one for each negative`,
      });
    }
    yield {
      form: 'ranked',
      query: textAt(row, query),
      positive: textAt(row, positive),
      negatives: negativeTexts,
      ...(teacher === undefined ? {} : { teacher }),
    };
  }
}

interface RankedColumns {
  readonly query: string;
  readonly positive: string;
  readonly negatives: readonly string[];
  readonly teacherScores?: string;
}

/** Columns that hold no texts, by their names: they are passed over where columns are taken in their order. */
const idName = /^(?:id|idx|index|.*[_-](?:id|idx|index))$/i;

/** A column of one of these names is taken for nothing else. */
const roles = ['query', 'positive', 'negative', 'negatives'] as const;
type Role = (typeof roles)[number];

/** The columns that were named; those that are called what is asked for; the rest taken from the file's own in their order. */
async function rankedColumns(config: RankedConfig, path: string): Promise<RankedColumns> {
  const { kind, columns } = config;
  const teacherScores = kind === 'tuples' ? config.columns.teacherScores : undefined;
  const named =
    kind === 'tuples'
      ? config.columns.negatives
      : kind === 'triplets'
        ? optional(config.columns.negative)
        : [];
  const given = [columns.query, columns.positive, teacherScores, ...(named ?? [])];
  const free = (await columnsOf(path)).filter((name) => !given.includes(name) && !idName.test(name));
  const next = (...[role, plural]: readonly [Role, Role?]): string => {
    const own = [role, plural].find((name) => name !== undefined && free.includes(name));
    const column = own ?? free.find((name) => !(roles as readonly string[]).includes(name));
    if (column === undefined)
      throw userError({
        what: `no column is left for the ${role}`,
        where: path,
        hint: 'name it under columns',
      });
    free.splice(free.indexOf(column), 1);
    return column;
  };
  const query = columns.query ?? next('query');
  const positive = columns.positive ?? next('positive');
  // What lmvec mine writes has a column of scores too.
  const others = free.includes('negatives') ? ['negatives'] : free;
  const negatives = named ?? (kind === 'triplets' ? [next('negative', 'negatives')] : others);
  return { query, positive, negatives, ...(teacherScores === undefined ? {} : { teacherScores }) };
}

function optional(name: string | undefined): readonly string[] | undefined {
  return name === undefined ? undefined : [name];
}

/** Scored pairs; or the pairs of a high score, both ways. */
async function* scoredExamples(
  { columns, positivesFrom }: ScoredConfig,
  path: string,
): AsyncGenerator<Example> {
  const { first, second, score } = columns;
  for await (const row of readRows(path, { columns: [first, second, score] })) {
    const [a, b] = [textAt(row, first), textAt(row, second)];
    const value = numberAt(row, score);
    if (positivesFrom === undefined) {
      yield { form: 'scored', first: a, second: b, score: value };
    } else if (value >= positivesFrom) {
      yield { form: 'ranked', query: a, positive: b, negatives: [] };
      yield { form: 'ranked', query: b, positive: a, negatives: [] };
    }
  }
}

async function readLabelled({ path, columns }: ClassesConfig): Promise<LabelledText[]> {
  const items: LabelledText[] = [];
  for (const name of path) if (name === wordNetClassSet) items.push(...(await wordNetDomains()));
  const files = await Promise.all(path.filter((name) => name !== wordNetClassSet).map(dataFiles));
  for (const file of files.flat()) {
    for await (const row of readRows(file, { columns: [columns.text, columns.label] })) {
      const label = row.values[columns.label];
      if (typeof label !== 'string' && typeof label !== 'number' && typeof label !== 'bigint')
        throw wrongValue(row, columns.label, 'a class: a text or a number');
      items.push({ text: textAt(row, columns.text), label: String(label) });
    }
  }
  return items;
}

function withoutExcluded(example: Example, exclude: (text: string) => boolean): Example | undefined {
  if (example.form === 'scored')
    return exclude(example.first) || exclude(example.second) ? undefined : example;
  if (exclude(example.query) || exclude(example.positive)) return undefined;
  const kept = example.negatives.map((negative) => !exclude(negative));
  if (!kept.includes(false)) return example;
  const { teacher, ...rest } = example;
  return {
    ...rest,
    negatives: example.negatives.filter((_, i) => kept[i]),
    ...(teacher === undefined ? {} : { teacher: teacher.filter((_, i) => i === 0 || kept[i - 1]) }),
  };
}

/** At most so many, chosen by the seed; their order stays. */
function choose<T>(items: readonly T[], most: number | undefined, seed: number): readonly T[] {
  if (most === undefined || items.length <= most) return items;
  const chosen = permutation(items.length, seed).slice(0, most).sort();
  return Array.from(chosen, (index) => items[index] as T);
}

function textAt(row: DataRow, column: string): string {
  const value = row.values[column];
  if (typeof value !== 'string' || value.trim() === '')
    throw wrongValue(row, column, 'a text that is not empty');
  return value;
}

function isBlank(row: DataRow, column: string): boolean {
  const value = row.values[column] ?? '';
  return typeof value === 'string' && value.trim() === '';
}

/** One text, or a list of them. */
function textsAt(row: DataRow, column: string): string[] {
  const value = row.values[column];
  if (!Array.isArray(value)) return [textAt(row, column)];
  const texts = (value as readonly unknown[]).filter(
    (text) => typeof text === 'string' && text.trim() !== '',
  );
  if (texts.length < value.length) throw wrongValue(row, column, 'a list of texts that are not empty');
  return texts as string[];
}

function numberAt(row: DataRow, column: string): number {
  const number = toNumber(row.values[column]);
  if (number === undefined) throw wrongValue(row, column, 'a number');
  return number;
}

function numbersAt(row: DataRow, column: string): number[] {
  const value = row.values[column];
  const numbers = (Array.isArray(value) ? (value as readonly unknown[]) : [value]).map(toNumber);
  if (numbers.includes(undefined)) throw wrongValue(row, column, 'a list of numbers');
  return numbers as number[];
}

function toNumber(value: unknown): number | undefined {
  if (typeof value !== 'number' && typeof value !== 'bigint' && typeof value !== 'string') return undefined;
  const number = typeof value === 'string' && value.trim() === '' ? NaN : Number(value);
  return Number.isFinite(number) ? number : undefined;
}

function wrongValue(row: DataRow, column: string, expected: string): Error {
  const value = row.values[column];
  const got = typeof value === 'bigint' ? value.toString() : JSON.stringify(value ?? null);
  return userError({
    what: `column ${column}`,
    where: row.where,
    got: got === 'null' ? 'nothing' : got.slice(0, 60),
    expected,
  });
}
