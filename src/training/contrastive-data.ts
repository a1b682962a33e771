import { textsOf, type ExampleSet, type RankedExample } from '../data/examples.js';
import { Mixture } from '../data/mixture.js';
import type { TextPreparer } from '../data/prompts.js';
import type { PromptConfig } from '../data/schema.js';
import type { TextTokenizer } from '../data/tokenizer.js';
import { recipePreparer, withPrompt, type EmbeddingRecipe } from '../pooling/embedding-model.js';
import { nearest, userError } from '../shared/errors.js';
import { hashKey, hashString } from '../shared/random.js';
import type { ContrastiveSet } from './objectives/contrastive.js';
import type { ContrastiveStageConfig } from './schema.js';

/** A set of `data.sets`, read. */
export interface TrainingExamples {
  readonly set: ExampleSet;
  /** Relative to the other sets. */
  readonly weight: number;
  /** Whether the other examples of a batch are negatives; the stage says it where this is left out. */
  readonly inBatch?: boolean;
  /** Frames of the two sides, or names of the run's prompts. */
  readonly prompts: {
    readonly query?: PromptConfig | undefined;
    readonly document?: PromptConfig | undefined;
  };
}

interface Data {
  readonly exampleSets?: ReadonlyMap<string, TrainingExamples>;
}

interface Text {
  readonly recipe: EmbeddingRecipe;
  readonly tokenizer: TextTokenizer;
}

/** What the contrastive objective draws from: the stage's sets, mixed, and how their texts are tokenised. */
export function contrastiveData(
  stage: ContrastiveStageConfig,
  data: Data,
  context: Text & { readonly seed: number },
): { readonly mixture: Mixture; readonly sets: readonly ContrastiveSet[] } {
  const chosen = setsOf(stage, data);
  const mixture = new Mixture(chosen, {
    batchExamples: stage.batchTexts,
    seed: hashKey(context.seed, hashString('mixture')),
    negatives: stage.hardNegatives,
    sameSet: stage.sameSetBatches,
  });
  const sets = chosen.map((examples) => ({
    name: examples.set.name,
    ...preparers(examples, context),
    inBatch: examples.inBatch ?? stage.inBatch,
  }));
  return { mixture, sets };
}

/** The sets that a stage names. @throws UserError where one is not there, or there is none. */
function setsOf(
  stage: ContrastiveStageConfig,
  { exampleSets = new Map<string, TrainingExamples>() }: Data,
): TrainingExamples[] {
  const names = stage.sets ?? [...exampleSets.keys()];
  if (names.length === 0)
    throw userError({ what: 'a contrastive stage needs examples', where: 'data.sets', got: 'no set' });
  return names.map((name) => {
    const found = exampleSets.get(name);
    if (found !== undefined) return found;
    const near = nearest(name, exampleSets.keys());
    throw userError({
      what: 'no such set of examples',
      where: 'stages: sets',
      got: name,
      expected: `one of data.sets: ${[...exampleSets.keys()].join(', ')}`,
      ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
    });
  });
}

/**
 * Whether each example of a stage's sets has what the stage's loss asks of it.
 * @throws UserError where one has nothing to be told from (its loss would be 0, or no loss at all), or no teacher scores for a loss of such
 */
export function checkExamples(stage: ContrastiveStageConfig, data: Data): void {
  for (const { set, inBatch = stage.inBatch } of setsOf(stage, data)) {
    if (set.form === 'scored') continue;
    const distils = stage.loss !== 'infoNce';
    if (inBatch && !distils) continue;
    const examples = Array.from({ length: set.count }, (_, i) => set.example(i, 0, stage.hardNegatives));
    const ranked = examples.filter((example) => example.form === 'ranked');
    const count = (lacks: (example: RankedExample) => boolean): number => ranked.filter(lacks).length;
    const without = count(({ negatives }) => negatives.length === 0);
    if (without > 0) throw noNegatives(set, { without, inBatch, stage });
    const unscored = distils ? count(({ teacher }) => teacher === undefined) : 0;
    if (unscored > 0)
      throw userError({
        what: `${stage.loss} learns the scores of a teacher`,
        where: `data.sets.${set.name}`,
        got: `${unscored} of ${set.count} examples without any`,
        expected: 'columns.teacherScores of a set of tuples: one for the positive, one for each negative',
      });
  }
}

function noNegatives(
  { name, count }: ExampleSet,
  given: { readonly without: number; readonly inBatch: boolean; readonly stage: ContrastiveStageConfig },
): Error {
  const { without, inBatch, stage } = given;
  const lacking = `${without} of ${count} examples without any`;
  return stage.loss === 'infoNce'
    ? userError({
        what: 'without in-batch negatives an example needs negatives of its own',
        where: `data.sets.${name}`,
        got: `inBatch: ${inBatch}, hardNegatives: ${stage.hardNegatives}, and ${lacking}`,
        hint: 'mine them (lmvec mine), let randomNegatives fill them in, or leave these examples out',
      })
    : userError({
        what: `${stage.loss} tells a positive from negatives`,
        where: `data.sets.${name}`,
        got: `hardNegatives: ${stage.hardNegatives}, and ${lacking}`,
        hint: 'mine them (lmvec mine), or leave these examples out',
      });
}

function preparers(
  { prompts }: TrainingExamples,
  { recipe, tokenizer }: Text,
): { readonly prepareQuery: TextPreparer; readonly prepareDocument: TextPreparer } {
  return {
    prepareQuery: recipePreparer(withPrompt(recipe, prompts.query), tokenizer),
    prepareDocument: recipePreparer(withPrompt(recipe, prompts.document), tokenizer),
  };
}

/** Examples of each set that are tokenised to learn how long texts are. */
const SAMPLE = 64;

/** Tokens of a sample of the stage's texts, each set with as many as its weight says. */
export function exampleLengths(stage: ContrastiveStageConfig, data: Data, text: Text): number[] {
  const lengths: number[] = [];
  const chosen = setsOf(stage, data);
  const weights = chosen.reduce((sum, { weight }) => sum + weight, 0);
  for (const examples of chosen) {
    const { set, weight } = examples;
    const { prepareQuery, prepareDocument } = preparers(examples, text);
    const count = Math.ceil((4 * SAMPLE * weight) / weights);
    const stride = Math.max(1, Math.floor(set.count / SAMPLE));
    const own: number[] = [];
    for (let index = 0; index < set.count && own.length < count; index += stride) {
      const [query = '', ...documents] = textsOf(set.example(index, 0, stage.hardNegatives));
      own.push(prepareQuery(query).ids.length);
      for (const document of documents) own.push(prepareDocument(document).ids.length);
    }
    for (let i = 0; i < count && own.length > 0; i++) lengths.push(own[i % own.length] as number);
  }
  return lengths;
}
