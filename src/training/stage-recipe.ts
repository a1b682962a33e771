import { recipePreparer, withPrompt, type EmbeddingRecipe } from '../pooling/embedding-model.js';
import { hashKey, hashString } from '../shared/random.js';
import { exampleLengths } from './contrastive-data.js';
import type { StageConfig } from './schema.js';
import type { CreateOptions } from './decoder-stage.js';

/** A stage's own way to embed, its texts cut where the stage cuts them. */
export function stageRecipe(recipe: EmbeddingRecipe, stage: StageConfig): EmbeddingRecipe {
  return {
    ...withPrompt(recipe, stage.prompt),
    ...(stage.attention === undefined ? {} : { attention: stage.attention }),
    ...(stage.pooling === undefined ? {} : { pooling: stage.pooling }),
    maxTokens: stage.maxTokens,
  };
}

/** What a stage's choices come from: each stage of a run draws others. */
export function stageSeed(seed: number, name: string): number {
  return hashKey(seed, hashString(name));
}

/** Texts that are tokenised to learn how long they are. */
const SAMPLE_TEXTS = 256;

/** Tokens of a sample of the stage's texts; pieces of running text are full. */
export function textLengths(
  { stage, data, tokenizer }: Pick<CreateOptions, 'stage' | 'data' | 'tokenizer'>,
  recipe: EmbeddingRecipe,
): number[] {
  if (stage.objective === 'contrastive') return exampleLengths(stage, data, { recipe, tokenizer });
  if (stage.objective !== 'simcse' || data.sentences.length === 0) return [stage.maxTokens];
  const prepare = recipePreparer(recipe, tokenizer);
  const stride = Math.max(1, Math.floor(data.sentences.length / SAMPLE_TEXTS));
  const count = Math.min(SAMPLE_TEXTS, Math.floor((data.sentences.length - 1) / stride) + 1);
  return Array.from({ length: count }, (_, i) => prepare(data.sentences.at(i * stride) as string).ids.length);
}
