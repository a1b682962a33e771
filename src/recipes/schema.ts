import { z } from 'zod';
import { exampleSetsSchema, type ExampleSetsConfig } from '../data/example-schema.js';
import { frameProblem } from '../data/prompt-frame.js';
import { dataSchema, promptReferenceSchema, promptsSchema, type PromptConfig } from '../data/schema.js';
import { evaluateSchema } from '../evaluation/schema.js';
import { exportSchema } from '../export/schema.js';
import {
  attentionSchema,
  modelSchema,
  tuningSchema,
  windowSchema,
  type ModelConfig,
  type TuningConfig,
} from '../models/schema.js';
import { poolingSchema } from '../pooling/schema.js';
import { nearest } from '../shared/errors.js';
import { completeWay, contradictions, methodKeySchema } from './method-key.js';
import { stagesSchema, trainSchema, tuningOf, type StagesConfig } from '../training/schema.js';

/** One file = one run: everything that `lmvec train` reads. */
export const runSchema = z
  .strictObject({
    model: modelSchema,
    /** A way to embed by name (`lmvec methods`), in the place of attention, pooling and prompt; a causal decoder where it does not say. */
    method: methodKeySchema.optional(),
    /** Default: bidirectional. */
    attention: attentionSchema.optional(),
    /** Default: keep. */
    window: windowSchema.optional(),
    /** Default: mean of the last layer. */
    pooling: poolingSchema.optional(),
    /**
     * Frames by name: for the sets of `data.sets`, for `prompt`, and in use by name. They travel with the model. One named like an evaluation
     * task (STS15, STSb), else one named STS, is what the task's texts are evaluated with.
     */
    prompts: promptsSchema.default({}),
    /** The frame of texts where nothing else is said: one of `prompts`, a preset, a frame. */
    prompt: promptReferenceSchema.optional(),
    tuning: tuningSchema.prefault({ type: 'lora' }),
    /** `train`: running text; `sets`: examples for contrastive stages. */
    data: dataSchema.extend({ sets: exampleSetsSchema.default({}) }).prefault({}),
    stages: stagesSchema,
    evaluate: evaluateSchema.prefault({}),
    export: exportSchema.prefault({}),
    train: trainSchema.prefault({}),
    /** The run folder. */
    output: z.string().min(1),
  })
  .superRefine((config, context) => {
    for (const { key, expected, got } of contradictions(config))
      context.addIssue({ code: 'custom', path: [key], message: expected, input: got });
    for (const { path, prompt } of promptReferences(config)) {
      const named = typeof prompt === 'string' && Object.hasOwn(config.prompts, prompt);
      const problem = named ? undefined : frameProblem(prompt);
      if (problem === undefined) continue;
      const names = Object.keys(config.prompts);
      const own = names.length === 0 ? '' : `one of prompts (${names.join(', ')}), `;
      const near = typeof prompt === 'string' ? nearest(prompt, names) : undefined;
      const hint = near === undefined ? problem.hint : `did you mean ${near}?`;
      const message = `${own}${problem.expected}${hint === undefined ? '' : ` (${hint})`}`;
      context.addIssue({ code: 'custom', path, message, input: prompt });
    }
    const { model, pooling } = config;
    if (pooling?.type === 'last' && (pooling.generate ?? 1) > 1) {
      const message = '1 or nothing: a generated answer is for embedding without training';
      context.addIssue({ code: 'custom', path: ['pooling', 'generate'], message, input: pooling.generate });
    }
    // Tokens that are added stay for the whole run.
    const added = new Set<number>();
    for (const [path, one] of [
      [['pooling'], pooling] as const,
      ...Object.entries(config.stages).map(
        ([name, stage]) => [['stages', name, 'pooling'], stage.pooling] as const,
      ),
    ]) {
      if (one?.type !== 'specialTokens') continue;
      const [first] = added.add(one.tokens);
      if (first === one.tokens) continue;
      const message = `${first}, as the run's other pooling has it`;
      context.addIssue({ code: 'custom', path: [...path, 'tokens'], message, input: one.tokens });
    }
    const packed = 'residentPrecision' in model && model.residentPrecision !== 'float32';
    const tunings = [config.tuning, ...Object.values(config.stages).map((stage) => stage.tuning)];
    if (packed && tunings.some((tuning) => tuning?.type === 'full' || tuning?.type === 'bitfit')) {
      const message = 'float32, as full tuning and BitFit train these weights';
      context.addIssue({
        code: 'custom',
        path: ['model', 'residentPrecision'],
        message,
        input: model.residentPrecision,
      });
    }
    const noAdapter = noAdapterReason(config);
    if (config.export.weights === 'adapter' && noAdapter !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['export', 'weights'],
        message: `merged, as ${noAdapter}`,
        input: config.export.weights,
      });
    for (const [name, stage] of Object.entries(config.stages)) {
      if (stage.objective !== 'contrastive') continue;
      const sets = Object.keys(config.data.sets);
      if (sets.length === 0) {
        const message = 'at least one set of examples: a contrastive stage needs them';
        context.addIssue({ code: 'custom', path: ['data', 'sets'], message, input: config.data.sets });
      }
      for (const [index, set] of (stage.sets ?? []).entries()) {
        if (sets.includes(set)) continue;
        const near = nearest(set, sets);
        const message = `one of data.sets: ${sets.join(', ')}${near === undefined ? '' : ` (did you mean ${near}?)`}`;
        context.addIssue({ code: 'custom', path: ['stages', name, 'sets', index], message, input: set });
      }
    }
  })
  .transform((config) => ({ ...config, ...completeWay(config) }));

/** Why what a run trains is no adapter on its base; undefined where it is one. */
function noAdapterReason({
  model,
  stages,
  tuning,
}: {
  readonly model: ModelConfig;
  readonly stages: StagesConfig;
  readonly tuning: TuningConfig;
}): string | undefined {
  const types = Object.values(stages).map((stage) => tuningOf(stage, tuning).type);
  if ('initialise' in model) return 'a new decoder has no base that an adapter could be put on';
  if (types.includes('full') || types.includes('bitfit'))
    return 'full tuning and BitFit train the weights themselves';
  return types.includes('lora') ? undefined : 'no stage trains an adapter';
}

/** Wherever a prompt's name may stand. */
function promptReferences(config: {
  readonly prompt?: PromptConfig | undefined;
  readonly stages: StagesConfig;
  readonly data: { readonly sets: ExampleSetsConfig };
}): { readonly path: string[]; readonly prompt: PromptConfig }[] {
  const sides = ['query', 'document'] as const;
  const found = [
    { path: ['prompt'], prompt: config.prompt },
    ...Object.entries(config.stages).map(([name, { prompt }]) => ({
      path: ['stages', name, 'prompt'],
      prompt,
    })),
    ...Object.entries(config.data.sets).flatMap(([name, { prompts }]) =>
      sides.map((side) => ({ path: ['data', 'sets', name, 'prompts', side], prompt: prompts[side] })),
    ),
  ];
  return found.flatMap(({ path, prompt }) => (prompt === undefined ? [] : [{ path, prompt }]));
}
export type RunConfig = Readonly<z.output<typeof runSchema>>;
