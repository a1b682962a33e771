import { TensorPool } from '../../compiler/pool.js';
import { BatchSampler } from '../../data/sampler.js';
import type { TextTokenizer } from '../../data/tokenizer.js';
import { DecoderRunner } from '../../models/decoder-runner.js';
import type { Decoder } from '../../models/decoder.js';
import { isPacked } from '../../models/resident.js';
import { recipePreparer, type EmbeddingRecipe } from '../../pooling/embedding-model.js';
import { normaliseRows, PackedEncoder } from '../../pooling/packed-encoder.js';
import { internalError, userError } from '../../shared/errors.js';
import { hashKey, hashString } from '../../shared/random.js';
import { learningRateAt } from '../learning-rate.js';
import type { Word2VecStageConfig } from '../schema.js';
import type { StageRunner, TrainingState } from '../stage-runner.js';
import { tokenisedSentences } from './sentences.js';
import { Word2VecTrainer } from './trainer.js';
import type { TextList } from '../../data/text-list.js';

/** The table of predicted words: it is trained with the other one, kept in checkpoints, and not part of the model. */
const OUTPUT = 'word2vec.output.weight';

export interface Word2VecStageOptions {
  readonly name: string;
  readonly stage: Word2VecStageConfig;
  readonly decoder: Decoder;
  readonly recipe: EmbeddingRecipe;
  readonly tokenizer: TextTokenizer;
  readonly sentences: TextList;
  readonly seed: number;
  /** Fills a folder with the model as it is now. */
  save(folder: string, parameters: ReadonlyMap<string, Float32Array>): Promise<void>;
}

/**
 * A stage that trains a table of word vectors by gradient descent on the rows that a word touches. It has no moments: AdamW's would change every
 * row at every step. Loop, checkpoints, metrics and evaluation are those of every stage.
 * @throws UserError where the model is no table of word vectors
 */
export function createWord2VecStage(options: Word2VecStageOptions): StageRunner {
  const { decoder, stage, recipe, tokenizer } = options;
  const { config } = decoder;
  if (config.model_type !== 'word2vec')
    throw userError({
      what: 'word2vec trains a table of word vectors, not a decoder',
      where: `stages.${options.name}.objective`,
      got: `a ${config.model_type} model`,
      hint: 'model: {initialise: {family: word2vec}}; the vectors of a decoder are used as they are by --method input-embeddings',
    });
  const seed = hashKey(options.seed, hashString(options.name));
  const inputName = config.embedding.weight;
  const input = decoder.weights.get(inputName);
  if (input === undefined) throw internalError(`no weight ${inputName}`);
  if (isPacked(input))
    throw userError({
      what: 'word2vec trains float32 vectors',
      where: `stages.${options.name}.objective`,
      got: `a table stored as ${input.storedType}`,
    });
  const output = new Float32Array(input.length);
  const parameters = new Map([
    [inputName, input],
    [OUTPUT, output],
  ]);
  const sentences = tokenisedSentences(options.sentences, { tokenizer, skipped: unknownId(tokenizer) });
  const trainer = new Word2VecTrainer({ input, output, dimensions: config.hidden_size }, sentences, stage);
  const pool = new TensorPool();
  const runner = new DecoderRunner({ decoder, attention: recipe.attention, window: recipe.window, pool });
  const encoder = new PackedEncoder({ runner, model: { decoder, recipe }, poolingTensors: {}, pool });
  const prepare = recipePreparer(recipe, tokenizer);
  let updates = 0;
  const { batchTexts } = stage;
  const sampler = new BatchSampler({ count: sentences.length, batchTexts, seed });
  const memoryParts = {
    process: 150e6,
    weights: 8 * input.length,
    texts: 4 * sentences.counts.reduce((sum, count) => sum + count, 0),
  };

  return {
    state: () => ({ parameters, optimizer: { step: updates, m: new Map(), v: new Map() } }),
    restore: (state) => {
      for (const [name, values] of parameters) values.set(savedValues(state, name, values.length));
      updates = state.optimizer.step;
      runner.parametersChanged();
    },
    step: (index) => {
      const rate = learningRateAt(index, stage);
      const result = trainer.train(sampler.batch(index), { rate, key: hashKey(seed, index) });
      updates += 1;
      runner.parametersChanged();
      return Promise.resolve({
        loss: result.loss / Math.max(1, result.predictions),
        tokens: result.words,
        multipliedTokens: result.kept,
        gradientNorm: Math.sqrt(result.squaredGradient),
        learningRate: rate,
      });
    },
    encode: async (texts) => {
      const embeddings = await encoder.encode(texts.map((text) => prepare(text)));
      normaliseRows(embeddings);
      return embeddings;
    },
    save: (folder) => options.save(folder, parameters),
    describe: () =>
      Promise.resolve({
        parameters: input.length,
        trainableParameters: 2 * input.length,
        flopsPerToken: flopsPerWord(stage, config.hidden_size),
        savePolicy: 'none needed',
        weightCopies: 1,
        memoryEstimate: Object.values(memoryParts).reduce((sum, bytes) => sum + bytes, 0),
        memoryParts,
        firstBatch: [...sampler.batch(0)].slice(0, 8).map((text) => tokenizer.decode(sentences.at(text))),
      }),
    dispose: async () => {
      await encoder.dispose();
      await runner.dispose();
      pool.clear();
    },
  };
}

/** What is unknown to a vocabulary of words has no vector. */
function unknownId(tokenizer: TextTokenizer): number | undefined {
  const unknown = tokenizer.config['unk_token'];
  const model = tokenizer.json['model'] as { readonly type?: unknown } | undefined;
  return model?.type === 'WordPiece' && typeof unknown === 'string' ? tokenizer.tokenId(unknown) : undefined;
}

/** 6 D for each of the words that a prediction scores: the score, the change by it and its own; 2 D around it for each word of the window. */
function flopsPerWord(
  { architecture, window, negatives }: Pick<Word2VecStageConfig, 'architecture' | 'window' | 'negatives'>,
  dimensions: number,
): number {
  const around = window + 1;
  const scored = 6 * dimensions * (1 + negatives);
  return architecture === 'cbow' ? scored + 2 * around * dimensions : around * (scored + dimensions);
}

function savedValues(state: TrainingState, name: string, length: number): Float32Array {
  const saved = state.parameters.get(name);
  if (saved?.length === length) return saved;
  throw userError({
    what: `the checkpoint does not fit the configuration at ${name}`,
    got: `${saved?.length ?? 'no'} values`,
    expected: String(length),
  });
}
