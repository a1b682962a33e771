import { z } from 'zod';

/** What is measured while training (always with step 0) and at its end. */
export const evaluateSchema = z.strictObject({
  /** Names of sets (STS12-16, STSb, SICK-R, WordNetSTS), or TSV files of score, sentence1, sentence2. */
  tasks: z.array(z.string().min(1)).min(1).default(['WordNetSTS']),
  /** Which part of the sets; everything is chosen on dev, test is for the end. */
  split: z.enum(['dev', 'test']).default('dev'),
  everySteps: z.int().min(1).default(100),
  /** `embedded`, or a folder with one folder per set. */
  folder: z.string().min(1).default('embedded'),
  protocol: z.enum(['mteb', 'senteval']).default('mteb'),
  /** Every n-th row only, for speed while training. */
  everyNthRow: z.int().min(1).default(1),
});
export type EvaluateConfig = Readonly<z.output<typeof evaluateSchema>>;
