import type { RuntimeOptions } from '../compiler/program.js';
import type { Embeddings } from '../pooling/packed-encoder.js';
import { createModelEncoder, type ModelEncoder } from '../pooling/packed-encoder.js';
import { loadEmbeddingModel } from '../pooling/load-model.js';
import type { EmbeddingModel, EmbeddingRecipe } from '../pooling/embedding-model.js';
import type { PoolingConfig } from '../pooling/schema.js';
import type { Encode } from '../evaluation/encoder.js';

/** A decoder as it was before any training, embedding in one of the ways that every report shows. */
export interface UntouchedModel {
  readonly name: string;
  readonly encode: Encode;
}

const layer = -1;

/** Ways that share a pass through the decoder. */
const groups: readonly {
  readonly recipe: Pick<EmbeddingRecipe, 'attention' | 'prompt'>;
  readonly ways: readonly { readonly name: string; readonly pooling: PoolingConfig }[];
}[] = [
  {
    recipe: { attention: 'causal' },
    ways: [
      { name: 'untouched, causal, mean', pooling: { type: 'mean', layer } },
      { name: 'untouched, causal, weighted mean', pooling: { type: 'weightedMean', layer } },
      { name: 'untouched, causal, last', pooling: { type: 'last', layer } },
    ],
  },
  {
    recipe: { attention: 'causal', prompt: 'prompt-eol' },
    ways: [{ name: 'untouched, PromptEOL, last', pooling: { type: 'last', layer } }],
  },
  {
    recipe: { attention: 'bidirectional' },
    ways: [{ name: 'untouched, bidirectional, mean', pooling: { type: 'mean', layer } }],
  },
];

/** An encoder is never causal. */
const encoderGroups: typeof groups = [
  {
    recipe: { attention: 'bidirectional' },
    ways: [
      { name: 'untouched, mean', pooling: { type: 'mean', layer } },
      { name: 'untouched, first', pooling: { type: 'first', layer } },
    ],
  },
];

/** Calls `use` with each untrained way to embed with a decoder, which is read once; ways of one pass share it. */
export async function forEachUntouched(
  path: string,
  runtime: RuntimeOptions,
  use: (model: UntouchedModel) => Promise<void>,
): Promise<void> {
  const bare = await loadEmbeddingModel(path);
  const encoder = bare.decoder.config.encoder === true;
  for (const { recipe, ways } of encoder ? encoderGroups : groups) {
    const [first, ...further] = ways.map(({ pooling }) => pooling) as [PoolingConfig, ...PoolingConfig[]];
    const { window, maxTokens } = bare.recipe;
    const model: EmbeddingModel = { ...bare, recipe: { window, maxTokens, ...recipe, pooling: first } };
    const run = createModelEncoder(model, { ...runtime, furtherPoolings: further });
    try {
      const encodeAll = remembering(run);
      for (const [index, { name }] of ways.entries())
        await use({ name, encode: async (texts) => (await encodeAll(texts))[index] as Embeddings });
    } finally {
      await run.dispose();
    }
  }
}

/** Embeds with every pooling of an encoder. The last call's embeddings are kept: the next way asks for the same texts. */
export function remembering(encoder: ModelEncoder): (texts: readonly string[]) => Promise<Embeddings[]> {
  let last: { readonly texts: readonly string[]; readonly embeddings: Embeddings[] } | undefined;
  return async (texts) => {
    const same =
      last?.texts.length === texts.length && last.texts.every((text, index) => text === texts[index]);
    if (last === undefined || !same) last = { texts, embeddings: await encoder.encodeAll(texts) };
    return last.embeddings;
  };
}
