import { z } from 'zod';
import { dataSchema, promptSchema } from '../data/schema.js';
import { evaluateSchema } from '../evaluation/schema.js';
import { exportSchema } from '../export/schema.js';
import { attentionSchema, modelSchema, tuningSchema, windowSchema } from '../models/schema.js';
import { poolingSchema } from '../pooling/schema.js';
import { stagesSchema, trainSchema } from '../training/schema.js';

/** One file = one run: everything that `lmvec train` reads. */
export const runSchema = z.strictObject({
  model: modelSchema,
  attention: attentionSchema.default('bidirectional'),
  window: windowSchema.default('keep'),
  pooling: poolingSchema.default({ type: 'mean', layer: -1 }),
  prompt: promptSchema.optional(),
  tuning: tuningSchema.prefault({ type: 'lora' }),
  data: dataSchema.prefault({}),
  stages: stagesSchema,
  evaluate: evaluateSchema.prefault({}),
  export: exportSchema.prefault({}),
  train: trainSchema.prefault({}),
  /** The run folder. */
  output: z.string().min(1),
});
export type RunConfig = Readonly<z.output<typeof runSchema>>;
