import type { ScoringOptions, EvalResult } from '../evaluation/evaluate.js';
import { evaluateSoftCosine } from '../evaluation/soft-cosine.js';
import type { TaskSelection } from '../evaluation/sts.js';
import { createTokenizer } from '../data/tokenizer.js';
import { isPacked, valuesOf } from '../models/resident.js';
import { loadEmbeddingModel } from '../pooling/load-model.js';
import { internalError } from '../shared/errors.js';

/**
 * Scores the soft cosine of a model's input embeddings (a word2vec model's word vectors): terms are its tokens, without those whose vector is
 * zero, which stand for any unknown word.
 * @throws UserError where the model or a set cannot be read
 */
export async function evaluateInputEmbeddings(
  model: string,
  options: TaskSelection & ScoringOptions,
): Promise<EvalResult[]> {
  const { decoder } = await loadEmbeddingModel(model);
  const { weight, width } = decoder.config.embedding;
  const table = decoder.weights.get(weight);
  if (table === undefined) throw internalError(`no ${weight}`);
  const values = isPacked(table) ? valuesOf(table) : table;
  const vectorOf = (term: number): Float32Array => values.subarray(term * width, (term + 1) * width);
  const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config, model);
  const count = (text: string): Map<number, number> => {
    const counts = new Map<number, number>();
    for (const id of tokenizer.encode(text))
      if (vectorOf(id).some((value) => value !== 0)) counts.set(id, (counts.get(id) ?? 0) + 1);
    return counts;
  };
  return evaluateSoftCosine({ ...options, vectorOf, count });
}
