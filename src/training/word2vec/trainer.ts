import { hashKey } from '../../shared/random.js';
import type { Word2VecStageConfig } from '../schema.js';
import { negativeSamplingStep, type PredictionLoss, type WordTables } from './negative-sampling.js';
import type { Sentences } from './sentences.js';
import { keptShares, negativeTable, RandomIntegers } from './word-statistics.js';

type Choices = Pick<
  Word2VecStageConfig,
  'architecture' | 'window' | 'negatives' | 'negativeExponent' | 'subsample' | 'maxTokens'
>;

export interface BatchResult extends PredictionLoss {
  /** Words of the texts. */
  words: number;
  /** Words that were left after the frequent ones were thinned out. */
  kept: number;
  predictions: number;
}

/**
 * Skip-gram and continuous bag of words with negative sampling, as the original trains them: gradient descent word by word, each update seen
 * by the next. What a batch does is a pure function of the tables, the texts and `key`.
 */
export class Word2VecTrainer {
  private readonly kept: Float64Array;
  private readonly table: Int32Array;
  private readonly change: Float32Array;
  private readonly mean: Float32Array;
  private readonly targets: Int32Array;

  constructor(
    private readonly tables: WordTables,
    private readonly sentences: Sentences,
    private readonly choices: Choices,
  ) {
    this.kept = keptShares(sentences.counts, choices.subsample);
    this.table = negativeTable(sentences.counts, choices.negativeExponent);
    this.change = new Float32Array(tables.dimensions);
    this.mean = new Float32Array(tables.dimensions);
    this.targets = new Int32Array(choices.negatives + 1);
  }

  /** Trains on some texts, one after the other. */
  train(texts: Uint32Array, { rate, key }: { readonly rate: number; readonly key: number }): BatchResult {
    const result: BatchResult = { loss: 0, squaredGradient: 0, words: 0, kept: 0, predictions: 0 };
    for (const [place, text] of texts.entries()) {
      const random = new RandomIntegers(hashKey(key, place));
      const words = this.sentences.at(text);
      result.words += words.length;
      const kept = words.filter((word) => random.next() < (this.kept[word] as number));
      result.kept += kept.length;
      for (let start = 0; start < kept.length; start += this.choices.maxTokens)
        this.sentence(kept.subarray(start, start + this.choices.maxTokens), { rate, random, result });
    }
    return result;
  }

  private sentence(
    words: Int32Array,
    how: { readonly rate: number; readonly random: RandomIntegers; readonly result: BatchResult },
  ): void {
    const { window, architecture } = this.choices;
    for (let middle = 0; middle < words.length; middle++) {
      const reach = window - how.random.below(window);
      const from = Math.max(0, middle - reach);
      const to = Math.min(words.length, middle + reach + 1);
      if (to - from < 2) continue;
      if (architecture === 'cbow') this.predictFromMean(words, { middle, from, to }, how);
      else
        for (let place = from; place < to; place++)
          if (place !== middle) this.predictFrom(words[place] as number, words[middle] as number, how);
    }
  }

  /** Skip-gram: the vector of a word around predicts the middle one. */
  private predictFrom(
    word: number,
    middle: number,
    { rate, random, result }: { rate: number; random: RandomIntegers; result: BatchResult },
  ): void {
    const { input, dimensions } = this.tables;
    const row = word * dimensions;
    const hidden = input.subarray(row, row + dimensions);
    this.predict(hidden, middle, { rate, random, result });
    for (let d = 0; d < dimensions; d++) hidden[d] = (hidden[d] as number) + (this.change[d] as number);
  }

  /** CBOW: the mean of the vectors around predicts the middle word. Each of them takes the whole change, not its share, as in the original. */
  private predictFromMean(
    words: Int32Array,
    { middle, from, to }: { readonly middle: number; readonly from: number; readonly to: number },
    how: { readonly rate: number; readonly random: RandomIntegers; readonly result: BatchResult },
  ): void {
    const { input, dimensions } = this.tables;
    const { mean, change } = this;
    mean.fill(0);
    const share = 1 / (to - from - 1);
    for (let place = from; place < to; place++) {
      if (place === middle) continue;
      const row = (words[place] as number) * dimensions;
      for (let d = 0; d < dimensions; d++) mean[d] = (mean[d] as number) + (input[row + d] as number);
    }
    for (let d = 0; d < dimensions; d++) mean[d] = (mean[d] as number) * share;
    this.predict(mean, words[middle] as number, how);
    for (let place = from; place < to; place++) {
      if (place === middle) continue;
      const row = (words[place] as number) * dimensions;
      for (let d = 0; d < dimensions; d++)
        input[row + d] = (input[row + d] as number) + (change[d] as number);
    }
  }

  private predict(
    hidden: Float32Array,
    middle: number,
    { rate, random, result }: { rate: number; random: RandomIntegers; result: BatchResult },
  ): void {
    const { table, targets, change } = this;
    targets[0] = middle;
    let count = 1;
    for (let k = 0; k < this.choices.negatives; k++) {
      const drawn = table[random.next() & (table.length - 1)] as number;
      if (drawn !== middle) targets[count++] = drawn;
    }
    result.predictions += 1;
    negativeSamplingStep(this.tables, { hidden, targets, count }, { rate, change, sum: result });
  }
}
