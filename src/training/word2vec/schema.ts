import { z } from 'zod';

/** What only Word2Vec has. Defaults are the original's. */
export const word2vecShape = {
  /** `skipGram`: each word around predicts the word in the middle; `cbow`: their mean does. */
  architecture: z.enum(['skipGram', 'cbow']).default('skipGram'),
  /** Most words on either side; each word draws its own number from 1 to it, so that near ones count more. */
  window: z.int().min(1).default(5),
  /** Random words that must not be predicted, for each that must. */
  negatives: z.int().min(1).default(5),
  /** They are drawn by their counts to this power. */
  negativeExponent: z.number().default(0.75),
  /** Words that make up a larger share of the text than this are left out at random, the more the more frequent; 0: none. */
  subsample: z.number().min(0).default(1e-3),
};

const unused = (what: string) =>
  z.never({ error: `nothing: a word2vec stage has no ${what} of its own` }).optional();

/** Keys of the other objectives that a table of word vectors has no use for. */
export const notOfWord2Vec = {
  attention: unused('attention'),
  pooling: unused('pooling'),
  prompt: unused('prompt'),
  tuning: unused('tuning, both tables are trained'),
};
