import { z } from 'zod';

const paths = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);

/** Where the training texts come from: `embedded`, or files with one text a line. */
export const dataSchema = z.strictObject({
  train: paths.transform((train) => (typeof train === 'string' ? [train] : train)).default(['embedded']),
  /** Evaluation tasks or files whose texts must not be trained on. */
  decontaminate: z.array(z.string().min(1)).default([]),
  /** Shorter texts are left out. */
  minWords: z.int().min(1).default(1),
  /** At most this many texts are used, chosen by `seed`. */
  maxTexts: z.int().min(1).optional(),
  /** Order and choice of the texts; `train.seed` where it is left out. */
  seed: z.int().min(0).optional(),
});
export type DataConfig = Readonly<z.output<typeof dataSchema>>;

/** A preset's name, a frame with `{text}` in it, or a frame with the tokens to pool: the text's, all, or the last one. */
export const promptSchema = z.union([
  z.string().min(1),
  z.strictObject({
    frame: z.string().includes('{text}', { message: 'a frame with {text} in it' }),
    pool: z.enum(['text', 'all', 'last']).default('text'),
  }),
]);
export type PromptConfig = Readonly<z.output<typeof promptSchema>>;
