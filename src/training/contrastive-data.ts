import { textsOf, type ExampleSet } from '../data/examples.js';
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
  for (const { set, inBatch = stage.inBatch } of chosen) checkNegatives(set, inBatch, stage);
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

/** @throws UserError where an example has nothing to be told from: its loss would be 0, or no loss at all. */
function checkNegatives(set: ExampleSet, inBatch: boolean, stage: ContrastiveStageConfig): void {
  if (inBatch || set.form === 'scored') return;
  const example = set.example(0, 0, stage.hardNegatives);
  if (example.form === 'ranked' && example.negatives.length > 0) return;
  throw userError({
    what: 'without in-batch negatives an example needs negatives of its own',
    where: `data.sets.${set.name}`,
    got: `inBatch: false, hardNegatives: ${stage.hardNegatives}, and an example without any`,
    hint: 'mine them (lmvec mine), or take randomNegatives',
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
