import { promptParts, type EmbeddingModel, type EmbeddingRecipe } from '../../src/pooling/embedding-model.js';
import { chosenLayers } from '../../src/pooling/layers.js';
import { checkAttention } from '../../src/pooling/load-model.js';
import { methods, withMethod } from '../../src/pooling/methods.js';
import { appendsEos, createPooling, savedShapes } from '../../src/pooling/registry.js';
import type { PoolingConfig } from '../../src/pooling/schema.js';
import { UserError } from '../../src/shared/errors.js';

/** One way to embed with an untrained decoder. */
export interface Way {
  readonly name: string;
  readonly recipe: EmbeddingRecipe;
}

/** Ways whose embeddings come out of one pass through the decoder: the same tokens, attention and pooled tokens. */
export type Pass = readonly [Way, ...Way[]];

/** Further layers and tokens for some of the methods, so that the table shows what the choice is worth. */
function variations(layers: number): readonly {
  readonly name: string;
  readonly method: string;
  readonly pooling: PoolingConfig;
}[] {
  const all = Array.from({ length: layers + 1 }, (_, depth) => depth);
  return [
    { name: 'mean, last layer but one', method: 'mean', pooling: { type: 'mean', layer: -2 } },
    { name: 'mean, average of all layers', method: 'mean', pooling: { type: 'mean', layer: all } },
    {
      name: 'prompt-eol, last layer but one',
      method: 'prompt-eol',
      pooling: { type: 'last', layer: -2 },
    },
    {
      name: 'prompt-eol, average of the last two layers',
      method: 'prompt-eol',
      pooling: { type: 'last', layer: [-2, -1] },
    },
    {
      name: 'prompt-eol-example, last layer but one',
      method: 'prompt-eol-example',
      pooling: { type: 'last', layer: -2 },
    },
    { name: 'echo, last token', method: 'echo', pooling: { type: 'last', layer: -1 } },
    { name: 'echo, last layer but one', method: 'echo', pooling: { type: 'mean', layer: -2 } },
  ];
}

/**
 * Every method that applies to a decoder, and some of them with other layers, grouped by pass; `leftOut` says why others do not apply.
 */
export function waysOf(bare: Pick<EmbeddingModel, 'decoder' | 'recipe'>): {
  readonly passes: readonly Pass[];
  readonly leftOut: readonly { readonly name: string; readonly reason: string }[];
} {
  const leftOut: { name: string; reason: string }[] = [];
  const passes = new Map<string, [Way, ...Way[]]>();
  const add = (way: Way): void => {
    const reason = misfit(way.recipe, bare);
    if (reason !== undefined) {
      leftOut.push({ name: way.name, reason });
      return;
    }
    const key = passKey(way.recipe);
    const pass = passes.get(key);
    if (pass === undefined) passes.set(key, [way]);
    else pass.push(way);
  };
  for (const [name, method] of methods) add({ name, recipe: withMethod(bare.recipe, method) });
  for (const { name, method, pooling } of variations(bare.decoder.config.num_hidden_layers)) {
    const base = methods.get(method);
    if (base !== undefined) add({ name, recipe: { ...withMethod(bare.recipe, base), pooling } });
  }
  return { passes: [...passes.values()], leftOut };
}

/** Why a recipe cannot be used with a decoder; undefined where it can. */
function misfit(
  { attention, pooling }: EmbeddingRecipe,
  { decoder: { config } }: Pick<EmbeddingModel, 'decoder'>,
): string | undefined {
  try {
    chosenLayers(pooling, config.num_hidden_layers);
    checkAttention(attention, config);
    createPooling(pooling, config);
    return savedShapes(pooling, config).size === 0 ? undefined : 'it has to be trained or calibrated';
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

function passKey(recipe: EmbeddingRecipe): string {
  const { attention, window, prompt, maxTokens, pooling } = recipe;
  return JSON.stringify([
    attention,
    window,
    prompt,
    maxTokens,
    promptParts(recipe).pool,
    appendsEos(pooling),
  ]);
}
