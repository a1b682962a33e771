import { contaminationTest } from '../data/decontaminate.js';
import {
  documentLines,
  readTexts,
  sourceRecords,
  textSources,
  type ReadTexts,
  type SourceRecord,
} from '../data/texts.js';
import { taskTexts } from '../evaluation/sts.js';
import type { RunConfig } from './schema.js';

/** The training texts of a run, without the texts of its evaluation sets. */
export interface TrainingTexts extends ReadTexts {
  readonly sources: readonly SourceRecord[];
  /** The same sources line by line, an empty line after each document: for stages that train on running text. */
  documents(): AsyncIterable<string>;
}

/** Nothing is read where no stage trains on running text. @throws UserError where a file is missing or no text is left. */
export async function loadTrainingTexts(
  config: Pick<RunConfig, 'data' | 'evaluate' | 'train' | 'stages' | 'model'>,
): Promise<TrainingTexts> {
  if (!readsText(config)) return noTexts;
  const { train, textColumn, decontaminate, minWords, minCharacters, maxTexts, seed } = config.data;
  const sources = await textSources(train, textColumn === undefined ? {} : { columns: textColumn });
  const exclude = contaminationTest(
    decontaminate.length === 0 ? [] : await taskTexts(decontaminate, config.evaluate.folder),
  );
  const texts = await readTexts(sources, {
    minWords,
    minCharacters,
    ...(maxTexts === undefined ? {} : { maxTexts }),
    seed: seed ?? config.train.seed,
    exclude,
  });
  return {
    ...texts,
    sources: await sourceRecords(sources, texts.counts),
    documents: () => documentLines(sources, exclude),
  };
}

function readsText({ stages, model }: Pick<RunConfig, 'stages' | 'model'>): boolean {
  // A decoder that is made from nothing gets its tokenizer from the texts.
  return 'initialise' in model || Object.values(stages).some(({ objective }) => objective !== 'contrastive');
}

const noTexts: TrainingTexts = {
  texts: [],
  counts: [],
  characters: 0,
  dropped: { short: 0, duplicate: 0, excluded: 0, notChosen: 0 },
  close: () => undefined,
  sources: [],
  // eslint-disable-next-line @typescript-eslint/require-await
  documents: async function* () {
    yield* [];
  },
};
