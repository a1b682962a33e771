import { configSaysBiases } from '../models/added-biases.js';
import type { TensorToWrite } from '../models/weights/index.js';
import type { JsonObject } from '../models/weights/types.js';
import {
  allPrompts,
  promptParts,
  type EmbeddingModel,
  type EmbeddingRecipe,
} from '../pooling/embedding-model.js';
import { chosenLayers, layerWords } from '../pooling/layers.js';
import { changesVectors, createPooling } from '../pooling/registry.js';
import { poolingSchema, type HeadConfig } from '../pooling/schema.js';
import { internalError } from '../shared/errors.js';

/** A head that the Dense module does: a trained matrix, or one that leaves the first numbers as they are. */
type DenseHead = Extract<HeadConfig, { readonly type: 'dense' | 'truncate' }>;

/** Where the trained matrix of a dense head lies, as `linear.weight` and `linear.bias`. */
export const DENSE_WEIGHTS = '2_Dense/model.safetensors';

/** How the stock modules of sentence-transformers say a recipe. */
export interface StockModules {
  readonly mode: 'mean' | 'cls' | 'lasttoken' | 'weightedmean';
  readonly dense: DenseHead | undefined;
  /** Put before every text. */
  readonly prompt: string | undefined;
  /** Put before texts of a kind, by its name. */
  readonly prompts: Readonly<Record<string, string>>;
}

/** The stock modules that do the same as a model with any of its prompts, or why there are none. */
export function stockModules(
  { recipe, decoder }: Pick<EmbeddingModel, 'recipe' | 'decoder'>,
  weights: 'merged' | 'adapter',
): StockModules | { readonly reason: string } {
  const layers = decoder.config.num_hidden_layers;
  if (!configSaysBiases(decoder))
    return {
      reason:
        'BitFit gave its matrices biases, of which no `config.json` of its family can say that they are there',
    };
  const asBase = decoder.config.encoder === true || recipe.attention === 'causal';
  if (weights === 'adapter' && !(asBase && recipe.window === 'keep'))
    return {
      reason:
        'its weights are an adapter, and sentence-transformers takes the attention of the base, which is another',
    };
  const own = stockModulesOf(recipe, layers);
  if ('reason' in own) return own;
  const prompts: Record<string, string> = {};
  for (const { name, recipe: prompted } of allPrompts(recipe)) {
    if (name === undefined) continue;
    const modules = stockModulesOf(prompted, layers);
    if ('reason' in modules) return { reason: `${modules.reason} (its prompt ${name})` };
    if (modules.mode !== own.mode) return { reason: `its prompts are pooled in different ways` };
    prompts[name] = modules.prompt ?? '';
  }
  return { ...own, prompts };
}

function stockModulesOf(
  recipe: EmbeddingRecipe,
  layers: number,
): Omit<StockModules, 'prompts'> | { readonly reason: string } {
  const { frame, pool } = promptParts(recipe);
  const { head, layer, type } = recipe.pooling;
  const none = (reason: string) => ({ reason });
  if (typeof recipe.attention === 'object')
    return none('only the last layers of this model are bidirectional, which no `config.json` can say');
  if (typeof layer !== 'number' || !chosenLayers(recipe.pooling, layers).normed)
    return none(`it pools ${layerWords(recipe.pooling)}, sentence-transformers the last`);
  if (head !== undefined && head.type !== 'dense' && head.type !== 'truncate')
    return none(`its vectors go through a ${head.type} head`);
  const dense = head;
  if (changesVectors(recipe.pooling))
    return none(
      'its vectors are standardised or hold the routing of its experts, for which there is no stock module',
    );
  // The head has a module of its own.
  const pooling = createPooling(poolingSchema.parse({ ...recipe.pooling, head: undefined }), {
    hidden_size: 1,
    num_hidden_layers: layers,
  });
  const mode =
    pool === 'last' && pooling.transform === undefined ? 'lasttoken' : pooling.sentenceTransformersMode;
  if (mode === undefined) return none(`there is no stock module for ${type} pooling`);
  if (frame === undefined || frame.template === '{text}') return { mode, dense, prompt: undefined };
  if (frame.copies > 1) return none('its prompt holds the text more than once');
  if (frame.after !== '') return none('a part of its prompt stands behind the text');
  if (frame.preparation === 'sentence') return none('its prompt changes the punctuation of the text');
  // It counts the prompt's tokens by itself, and one less where the last of them is a special token.
  if (pool !== 'all' && pool !== 'last')
    return none(
      'the tokens of its prompt are not pooled, and sentence-transformers counts them in another way',
    );
  return { mode, dense, prompt: frame.before };
}

/** What a recipe puts before texts, where that is all that its prompts do. */
type PlainPrompts = Pick<StockModules, 'prompt' | 'prompts'>;

/** The prompts of a recipe as something put before a text; undefined where one of them does more. */
export function plainPrompts(recipe: EmbeddingRecipe): PlainPrompts | undefined {
  const prompts: Record<string, string> = {};
  let prompt: string | undefined;
  for (const { name, recipe: prompted } of allPrompts(recipe)) {
    const { frame } = promptParts(prompted);
    if (frame !== undefined && (frame.copies > 1 || frame.after !== '' || frame.preparation !== 'none'))
      return undefined;
    const before = frame === undefined || frame.before === '' ? undefined : frame.before;
    if (name === undefined) prompt = before;
    else prompts[name] = before ?? '';
  }
  return { prompt, prompts };
}

/** The name under which tools find the prompt of texts where none is named; null where there is none. */
export function defaultPromptName({ prompt, prompts }: PlainPrompts): string | null {
  if (prompt === undefined) return null;
  return Object.entries(prompts).find(([, before]) => before === prompt)?.[0] ?? 'default';
}

/**
 * What tools read beside modules: the longest text, and prompts by name. text-embeddings-inference takes both from here for an ONNX file that
 * pools by itself, whether there are stock modules or not.
 */
export function promptFiles(given: PlainPrompts, maxTokens: number): Record<string, unknown> {
  const { prompt, prompts } = given;
  const defaultName = defaultPromptName(given);
  return {
    'sentence_bert_config.json': { max_seq_length: maxTokens, do_lower_case: false },
    'config_sentence_transformers.json': {
      prompts: { ...prompts, ...(defaultName === 'default' ? { default: prompt } : {}) },
      default_prompt_name: defaultName,
      similarity_fn_name: 'cosine',
    },
  };
}

/** The files of the stock modules, by path. */
export function stockFiles(
  { mode, dense, prompt, prompts }: StockModules,
  { hiddenSize, maxTokens }: { readonly hiddenSize: number; readonly maxTokens: number },
): Record<string, unknown> {
  const module = (idx: number, path: string, type: string) => ({
    idx,
    name: String(idx),
    path,
    type: `sentence_transformers.models.${type}`,
  });
  return {
    'modules.json': [
      module(0, '', 'Transformer'),
      module(1, '1_Pooling', 'Pooling'),
      ...(dense === undefined ? [] : [module(2, '2_Dense', 'Dense')]),
      dense === undefined ? module(2, '2_Normalize', 'Normalize') : module(3, '3_Normalize', 'Normalize'),
    ],
    ...(dense === undefined ? {} : { '2_Dense/config.json': denseConfig(dense, hiddenSize) }),
    '1_Pooling/config.json': {
      word_embedding_dimension: hiddenSize,
      pooling_mode_cls_token: mode === 'cls',
      pooling_mode_mean_tokens: mode === 'mean',
      pooling_mode_max_tokens: false,
      pooling_mode_mean_sqrt_len_tokens: false,
      pooling_mode_weightedmean_tokens: mode === 'weightedmean',
      pooling_mode_lasttoken: mode === 'lasttoken',
      include_prompt: true,
    },
    [dense === undefined ? '2_Normalize/config.json' : '3_Normalize/config.json']: {},
    ...promptFiles({ prompt, prompts }, maxTokens),
  };
}

/**
 * A module that does not exist, where no stock modules do the same: sentence-transformers stops at its name. Without modules.json it would put a
 * mean of its own behind the weights, and give other vectors without a word.
 */
export function noStockModules(): Record<string, unknown> {
  const type = 'sentence_transformers.models.no_stock_module_does_this_pooling_see_README';
  return { 'modules.json': [{ idx: 0, name: '0', path: '', type }] };
}

function denseConfig(head: DenseHead, hiddenSize: number): JsonObject {
  const { dimensions } = head;
  const { bias, activation } = head.type === 'dense' ? head : { bias: false, activation: 'none' };
  return {
    in_features: hiddenSize,
    out_features: dimensions,
    bias,
    activation_function:
      activation === 'tanh' ? 'torch.nn.modules.activation.Tanh' : 'torch.nn.modules.linear.Identity',
  };
}

/** The head's matrix [E, D] and bias [E], named as torch names them. */
export function denseWeights(
  head: DenseHead,
  hiddenSize: number,
  parameters: ReadonlyMap<string, Float32Array>,
): TensorToWrite[] {
  const { dimensions } = head;
  if (head.type === 'truncate') {
    const data = new Float32Array(dimensions * hiddenSize);
    for (let i = 0; i < dimensions; i++) data[i * hiddenSize + i] = 1;
    return [{ name: 'linear.weight', shape: [dimensions, hiddenSize], storedType: 'F32', data }];
  }
  const { bias } = head;
  const shapes: Readonly<Record<string, readonly number[]>> = {
    weight: [dimensions, hiddenSize],
    ...(bias ? { bias: [dimensions] } : {}),
  };
  return Object.entries(shapes).map(([name, shape]) => {
    const data = parameters.get(`head.${name}`);
    if (data === undefined) throw internalError(`no head.${name}`);
    return { name: `linear.${name}`, shape, storedType: 'F32', data };
  });
}
