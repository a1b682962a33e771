import { z } from 'zod';
import { promptReferenceSchema } from './schema.js';

const column = z.string().min(1);

const common = {
  /** Of the run, relative to the other sets; the number of examples where it is left out. */
  weight: z.number().gt(0).optional(),
  /** At most this many examples (of classes: texts), chosen by the seed. */
  maxExamples: z.int().min(1).optional(),
  /** The frames of the two sides, or the names of two of the run's `prompts`; the run's `prompt` where one is left out. */
  prompts: z
    .strictObject({ query: promptReferenceSchema.optional(), document: promptReferenceSchema.optional() })
    .default({}),
};

const path = z
  .union([column, z.array(column).min(1)])
  .transform((given) => (typeof given === 'string' ? [given] : given));

const ranked = {
  ...common,
  /** Files, or sets that come with lmvec: wordnet-word-to-gloss, wordnet-gloss-to-example (pairs), wordnet-gloss-domains (classes). */
  path,
  /** Whether the other examples of a batch are negatives; the stage's `inBatch` where it is left out. */
  inBatch: z.boolean().optional(),
};

/** Positives of other examples, drawn anew in each epoch, where an example has no negatives of its own. */
const randomNegatives = z.int().min(0).default(0);

/**
 * Names of columns. Where they are left out: those that are called query, positive, negative or negatives, else the first columns of the file, in
 * their order, that are not called an id.
 */
const queryColumns = { query: column.optional(), positive: column.optional() };

/** One source of examples. */
export const exampleSetSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('pairs'),
    ...ranked,
    randomNegatives,
    columns: z.strictObject(queryColumns).default({}),
  }),
  z.strictObject({
    kind: z.literal('triplets'),
    ...ranked,
    randomNegatives,
    columns: z.strictObject({ ...queryColumns, negative: column.optional() }).default({}),
  }),
  z.strictObject({
    kind: z.literal('tuples'),
    ...ranked,
    randomNegatives,
    columns: z
      .strictObject({
        ...queryColumns,
        /**
         * Columns of one negative each (blank where a row has fewer), or one column of lists; the column `negatives`, or all further ones, where it is
         * left out.
         */
        negatives: z
          .union([column, z.array(column).min(1)])
          .transform((given) => (typeof given === 'string' ? [given] : given))
          .optional(),
        /** A column with what a teacher gave the positive and each negative: a list of numbers. */
        teacherScores: column.optional(),
      })
      .default({}),
  }),
  z.strictObject({
    kind: z.literal('scoredPairs'),
    ...common,
    path,
    columns: z
      .strictObject({
        first: column.default('sentence1'),
        second: column.default('sentence2'),
        score: column.default('score'),
      })
      .prefault({}),
    /** Makes queries and positives, both ways, of the pairs with at least this score, in the place of scored pairs (NV-Embed: 4). */
    positivesFrom: z.number().optional(),
    inBatch: z.boolean().optional(),
  }),
  z.strictObject({
    /** A text's positive is another text of its label, its negatives are texts of other labels. */
    kind: z.literal('classes'),
    ...ranked,
    columns: z.strictObject({ text: column.default('text'), label: column.default('label') }).prefault({}),
  }),
]);
export type ExampleSetConfig = Readonly<z.output<typeof exampleSetSchema>>;

/** By name: names become parts of records and metrics. */
export const exampleSetsSchema = z.record(
  z.string().regex(/^[A-Za-z][A-Za-z0-9_-]*$/, {
    message: 'a name of letters, digits, _ and - that begins with a letter',
  }),
  exampleSetSchema,
);
export type ExampleSetsConfig = Readonly<z.output<typeof exampleSetsSchema>>;
