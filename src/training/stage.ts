import { checkTokenizerFits, createTokenizer } from '../data/tokenizer.js';
import { withAddedBiases } from '../models/added-biases.js';
import { ADDED_ROWS, addedRows, addedShape, decoderWithTokens } from '../models/added-tokens.js';
import type { Decoder } from '../models/decoder.js';
import { matrixLayout } from '../models/lora.js';
import { mergeInto } from '../models/merge-adapter.js';
import { isPacked } from '../models/resident.js';
import type { TuningConfig } from '../models/schema.js';
import { specialTokens } from '../pooling/registry.js';
import { internalError, userError } from '../shared/errors.js';
import { tuningOf, type StageConfig, type Word2VecStageConfig } from './schema.js';
import type { CreateStage, FinishedStage, StageRunner } from './stage-runner.js';
import { createWord2VecStage } from './word2vec/stage.js';
import type { StageFactoryOptions } from './stage-options.js';
import { lineageOf } from './lineage.js';
import { stageRecipe } from './stage-recipe.js';
import { createStage, type CreateOptions } from './decoder-stage.js';

/** Makes the stages of a run, one after the other, on one decoder: each merges what the one before has learned. */
export function stageFactory(options: StageFactoryOptions): CreateStage {
  const merged = new Set<string>();
  let { decoder } = options;
  let tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
  checkTokenizerFits(tokenizer, decoder.config.vocab_size);
  /** Adds the special tokens of a stage's pooling, once in a run. */
  const addTokens = async (stage: StageConfig): Promise<void> => {
    const { added } = decoder.config.embedding;
    const tokens = specialTokens(stageRecipe(options.recipe, stage).pooling);
    if (tokens.length === 0 || added?.count === tokens.length) return;
    if (added !== undefined)
      throw userError({
        what: 'stages put different numbers of special tokens behind their texts',
        where: 'pooling.tokens',
        got: `${added.count} and ${tokens.length}`,
        expected: 'one number for all stages',
      });
    // A model that was trained with them goes on from its own.
    const rows = (await options.storedPooling?.(addedShape(decoder, tokens)))?.get(ADDED_ROWS);
    const start = rows === undefined ? { seed: options.seed } : { rows };
    decoder = decoderWithTokens(decoder, tokens, start);
    tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
  };
  return async ({ name, stage, previous }) => {
    const stages = [...previous.map((finished) => finished.stage), stage];
    if (stages.some((one) => tuningOf(one, options.tuning).type === 'bitfit'))
      decoder = withAddedBiases(decoder);
    for (const finished of previous) {
      if (merged.has(finished.name)) continue;
      await addTokens(finished.stage);
      mergeStage(decoder, finished, options.tuning);
      merged.add(finished.name);
    }
    if (stage.objective === 'word2vec')
      return word2vecStage({ ...options, decoder, name, stage, previous, tokenizer });
    await addTokens(stage);
    return createStage({ ...options, decoder, name, stage, previous, tokenizer });
  };
}

/** Adds a finished stage's adapter to the decoder's weights, or puts fully tuned weights and rows of added tokens in their place. */
function mergeStage(decoder: Decoder, { stage, parameters }: FinishedStage, runTuning: TuningConfig): void {
  const tuning = tuningOf(stage, runTuning);
  for (const [name, values] of parameters) {
    if (name === ADDED_ROWS) addedRows(decoder).set(values);
    const weight = decoder.weights.get(name);
    if (weight !== undefined && weight !== values) {
      if (isPacked(weight)) throw internalError(`${name} was trained, and is packed`);
      weight.set(values);
    }
    if (tuning.type !== 'lora' || !name.endsWith('.lora_A.weight')) continue;
    const base = name.slice(0, -'.lora_A.weight'.length);
    const b = parameters.get(`${base}.lora_B.weight`);
    const target = decoder.weights.get(`${base}.weight`);
    if (b === undefined || target === undefined)
      throw userError({ what: `the adapter of ${base} is not whole` });
    mergeInto(target, {
      a: values,
      b,
      rank: tuning.rank,
      scale: tuning.alpha / tuning.rank,
      layout: matrixLayout(decoder.config),
    });
  }
}

/** A stage that trains word vectors saves the run's own way to embed. */
function word2vecStage(
  options: Omit<CreateOptions, 'stage'> & { readonly stage: Word2VecStageConfig },
): StageRunner {
  const { decoder, recipe, previous, stage } = options;
  const tuning = tuningOf(stage, options.tuning);
  const lineage = lineageOf(previous, options, options.tuning);
  return createWord2VecStage({
    ...options,
    sentences: options.data.sentences,
    save: (folder, parameters) =>
      options.save(folder, { decoder, recipe, tuning, parameters, previous, lineage }),
  });
}
