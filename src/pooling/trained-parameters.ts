import { basename } from 'node:path';
import { findAddedTokens } from '../data/added-tokens.js';
import { ADDED_ROWS, addedShape, decoderWithTokens } from '../models/added-tokens.js';
import type { Decoder } from '../models/decoder.js';
import { userError, type UserError } from '../shared/errors.js';
import type { EmbeddingRecipe } from './embedding-model.js';
import { savedShapes, specialTokens } from './registry.js';
import type { PoolingConfig } from './schema.js';
import { storedPooling } from './stored-pooling.js';

/**
 * The decoder with the special tokens of its recipe: their trained rows lie beside an adapter, or in the table of merged weights.
 * @throws UserError where the model has none
 */
export async function withTrainedTokens(
  path: string,
  recipe: EmbeddingRecipe,
  decoder: Decoder,
): Promise<Decoder> {
  const names = specialTokens(recipe.pooling);
  if (names.length === 0) return decoder;
  const rows = (await storedPooling(path, addedShape(decoder, names))).get(ADDED_ROWS);
  if (rows !== undefined) return decoderWithTokens(decoder, names, { rows });
  if (findAddedTokens(decoder.tokenizer, names) === undefined) throw untrained(path, recipe);
  return decoderWithTokens(decoder, names, {});
}

function trainedPart({ type, head, layer, standardise }: PoolingConfig): string {
  if (['latentAttention', 'selfAttention', 'lmort', 'specialTokens'].includes(type)) return `${type} pooling`;
  if (typeof layer === 'object' && 'learned' in layer) return 'a learned mix of layers';
  if (standardise === true) return 'standardisation (lmvec calibrate)';
  return `a ${head?.type ?? ''} head`;
}

function untrained(path: string, { pooling }: EmbeddingRecipe): UserError {
  return userError({
    what: `${trainedPart(pooling)} is trained, and this model has none`,
    where: basename(path),
    hint: 'train it: pooling.type in a recipe',
  });
}

/** The pooling's trained parameters. @throws UserError where the model has none of its kind. */
export async function poolingParametersOf(
  path: string,
  recipe: EmbeddingRecipe,
  decoder: Decoder,
): Promise<Map<string, Float32Array>> {
  const shapes = savedShapes(recipe.pooling, decoder.config);
  if (shapes.size === 0) return new Map();
  const stored = await storedPooling(path, shapes);
  if (stored.size === 0) throw untrained(path, recipe);
  for (const [name, shape] of shapes)
    if (!stored.has(name))
      throw userError({
        what: `pooling parameter ${name} does not fit`,
        where: path,
        got: 'nothing',
        expected: `[${shape.join(', ')}]`,
      });
  return stored;
}
