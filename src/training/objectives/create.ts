import { chosenChunks } from '../../data/token-chunks.js';
import { recipePreparer } from '../../pooling/embedding-model.js';
import { userError } from '../../shared/errors.js';
import { contrastiveData } from '../contrastive-data.js';
import { contrastive } from './contrastive.js';
import type { Objective, ObjectiveContext } from './objective.js';
import { simcse } from './simcse.js';
import { causalLm, mntp } from './token-prediction.js';
import type { DecoderStageConfig } from '../schema.js';
import type { TrainingData } from '../stage-options.js';

export async function createObjective(
  stage: DecoderStageConfig,
  { context, data }: { readonly context: ObjectiveContext; readonly data: TrainingData },
): Promise<Objective> {
  // Each objective takes back just the batches that it made.
  if (stage.objective === 'contrastive') {
    const { mixture, sets } = contrastiveData(stage, data, context);
    return contrastive(mixture, { stage, context, sets });
  }
  if (stage.objective === 'simcse') {
    const { recipe, tokenizer } = context;
    const prepare = recipePreparer(recipe, tokenizer);
    if (stage.secondPrompt === undefined) return simcse(data.sentences, { stage, context, prepare });
    const prepareSecond = recipePreparer({ ...recipe, prompt: stage.secondPrompt }, tokenizer);
    return simcse(data.sentences, { stage, context, prepare, prepareSecond });
  }
  const chunks = await chosenChunks(() => data.documents(), {
    tokenizer: context.tokenizer,
    maxTokens: stage.maxTokens,
    joinDocuments: true,
    seed: context.seed,
    needed: stage.maxSteps * stage.accumulate * stage.batchTexts,
    ...(data.characters === undefined ? {} : { characters: data.characters }),
  });
  if (chunks.length === 0)
    throw userError({ what: 'no training text is long enough for a chunk', where: 'data.train' });
  return stage.objective === 'mntp' ? mntp(chunks, stage, context) : causalLm(chunks, stage, context);
}
