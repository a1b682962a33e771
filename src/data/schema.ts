import { z } from 'zod';
import { nearest } from '../shared/errors.js';
import { promptPresets } from './prompt-presets.js';

const paths = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);

/** Where the training texts come from: `embedded`, or files with one text a line. */
export const dataSchema = z.strictObject({
  train: paths.transform((train) => (typeof train === 'string' ? [train] : train)).default(['embedded']),
  /** Evaluation tasks or files whose texts must not be trained on. */
  decontaminate: z.array(z.string().min(1)).default([]),
  /** Shorter texts are left out. */
  minWords: z.int().min(1).default(1),
  minCharacters: z.int().min(1).default(1),
  /** At most this many texts are used, chosen by `seed`. */
  maxTexts: z.int().min(1).optional(),
  /** Order and choice of the texts; `train.seed` where it is left out. */
  seed: z.int().min(0).optional(),
});
export type DataConfig = Readonly<z.output<typeof dataSchema>>;

const prompt = z.string().superRefine((text, context) => {
  if (Object.hasOwn(promptPresets, text) || text.split('{text}').length === 2) return;
  const names = Object.keys(promptPresets);
  const near = nearest(text, names);
  const hint = near === undefined ? '' : ` (did you mean ${near}?)`;
  const message = `a frame with {text} in it once, or one of ${names.join(', ')}${hint}`;
  context.addIssue({ code: 'custom', message, input: text });
});

/** A preset's name or a frame with `{text}` in it; or a mapping that also says which tokens to pool: the text's, all, or the last one. */
export const promptSchema = z.union([
  prompt,
  z.strictObject({ frame: prompt, pool: z.enum(['text', 'all', 'last']).optional() }),
]);
export type PromptConfig = Readonly<z.output<typeof promptSchema>>;
