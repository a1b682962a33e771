import { z } from 'zod';
import { loadConfig } from '../config/load.js';
import { promptPresets, type PromptPreset, type PromptPresetName } from '../data/prompt-presets.js';
import { promptSchema } from '../data/schema.js';
import { attentionSchema, windowSchema, type AttentionMode } from '../models/schema.js';
import { nearest, userError } from '../shared/errors.js';
import type { EmbeddingRecipe } from './embedding-model.js';
import { poolingSchema, type PoolingConfig, type RoutingConfig } from './schema.js';

/** A whole way to embed with any decoder, as a file of the user says it. What is left out is the model's own. */
const methodSchema = z.strictObject({
  description: z.string().default('from a file'),
  /** Where it comes from: a paper. */
  source: z.string().default('none given'),
  attention: attentionSchema.optional(),
  window: windowSchema.optional(),
  pooling: poolingSchema.default({ type: 'mean', layer: -1 }),
  prompt: promptSchema.optional(),
});
export type Method = Readonly<z.output<typeof methodSchema>>;

/** What a preset's method needs beside its frame. */
const attentionOfPreset: Partial<Record<PromptPresetName, AttentionMode>> = {
  bellm: { lastLayers: 1 },
  gritlm: 'bidirectional',
  'nv-embed': 'bidirectional',
  llm2vec: 'bidirectional',
};

const plain: Readonly<Record<string, Method>> = {
  mean: {
    description: 'mean of all tokens of the last layer',
    source: 'the plain average that every report shows',
    pooling: { type: 'mean', layer: -1 },
  },
  'weighted-mean': {
    description: 'mean of all tokens, later ones weighing more',
    source: 'SGPT, Muennighoff 2022, arXiv:2202.08904',
    pooling: { type: 'weightedMean', layer: -1 },
  },
  last: {
    description: 'the last token',
    source: 'cpt-text, Neelakantan et al. 2022, arXiv:2201.10005, without its training',
    pooling: { type: 'last', layer: -1 },
  },
  'bidirectional-mean': {
    description: 'every token looks at every token; mean: the first step of LLM2Vec, meant to be trained',
    source: 'LLM2Vec, BehnamGhader et al. 2024, arXiv:2404.05961',
    attention: 'bidirectional',
    pooling: { type: 'mean', layer: -1 },
  },
  'first-last-mean': {
    description: 'mean of the first and of the last block, averaged',
    source: 'BERT-flow, Li et al. 2020, arXiv:2011.05864; Su et al. 2021, arXiv:2103.15316',
    pooling: { type: 'mean', layer: [1, -1] },
  },
  'input-embeddings': {
    description: 'average of the input embeddings, without any block: a static baseline',
    source: 'the decoder taken as a table of word vectors',
    pooling: { type: 'mean', layer: 0 },
  },
};

const moee = 'MoEE, Li and Zhou 2024, arXiv:2410.10814';

/** Of mixtures of experts: what the routers say of the last token, beside its hidden state. */
const mixtures: Readonly<Record<string, Method>> = {
  'moee-hs': mixture('hs', 'hidden state alone'),
  'moee-rw': mixture('rw', 'what the routers say of the last token, all layers joined, alone'),
  'moee-concat': mixture('concat', 'hidden state and routing joined'),
  'moee-sum': mixture(
    'sum',
    'cosines of hidden states and of routings added (--alpha: the weight of the latter)',
  ),
};

function mixture(combine: RoutingConfig['combine'], description: string): Method {
  const pooling = {
    type: 'last',
    layer: -1,
    routing: { combine, alpha: 1, weights: 'softmax', layers: 'all' },
  } as const;
  return { description: `mixtures of experts: ${description}`, source: moee, pooling, prompt: 'prompt-eol' };
}

/** Every named way to embed without training, by name. A prompt preset is one. */
export const methods: ReadonlyMap<string, Method> = new Map([
  ...Object.entries(plain),
  ...Object.keys(promptPresets).map((name) => [name, methodOf(name as PromptPresetName)] as const),
  ...Object.entries(mixtures),
]);

function methodOf(name: PromptPresetName): Method {
  const { pooling, layer, description, source }: PromptPreset = promptPresets[name];
  const attention = attentionOfPreset[name];
  return {
    description,
    source,
    pooling: { type: pooling, layer },
    prompt: name,
    ...(attention === undefined ? {} : { attention }),
  };
}

/**
 * The method of a name, or of a YAML file.
 * @throws UserError naming the nearest method
 */
export async function findMethod(name: string): Promise<Method> {
  const known = methods.get(name);
  if (known !== undefined) return known;
  if (/\.ya?ml$/i.test(name)) return (await loadConfig(name, [], methodSchema)).config;
  const near = nearest(name, methods.keys());
  throw userError({
    what: 'unknown method',
    got: JSON.stringify(name),
    expected: `one of ${[...methods.keys()].join(', ')}, or a .yaml file`,
    ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
  });
}

/** A recipe with the method in the place of its own way to embed. */
export function withMethod(
  { attention, window, maxTokens }: EmbeddingRecipe,
  method: Method,
): EmbeddingRecipe {
  const pooling: PoolingConfig = method.pooling;
  return {
    attention: method.attention ?? attention,
    window: method.window ?? window,
    pooling,
    ...(method.prompt === undefined ? {} : { prompt: method.prompt }),
    maxTokens,
  };
}
