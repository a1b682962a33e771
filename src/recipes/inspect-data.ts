import { findAddedTokens, withAddedTokens, type TokenizerPair } from '../data/added-tokens.js';
import { createTokenizer, type TextTokenizer } from '../data/tokenizer.js';
import type { TokenizedText } from '../data/batch.js';
import { openDecoder } from '../models/weights/index.js';
import { recipePreparer } from '../pooling/embedding-model.js';
import { specialTokens } from '../pooling/registry.js';
import { userError } from '../shared/errors.js';
import { contrastiveData } from '../training/contrastive-data.js';
import { decodePooled } from '../training/objectives/decode-pooled.js';
import { rolesOf } from '../training/objectives/contrastive-batch.js';
import type { ContrastiveStageConfig } from '../training/schema.js';
import { stageRecipe, stageSeed } from '../training/stage-recipe.js';
import { runRecipe } from './run-recipe.js';
import { loadExamples } from './training-examples.js';
import { loadTrainingTexts } from './training-texts.js';
import type { RunConfig } from './schema.js';

export interface InspectDataOptions {
  /** Of the run; the first where it is left out. */
  readonly stage?: string;
  /** Which batch of the stage. */
  readonly batch?: number;
  /** Examples, or texts, that are shown. */
  readonly count?: number;
}

/**
 * What a stage really reads: for each text of a batch its role, the text itself, the text as it is embedded with what is not pooled in ‹›,
 * and its tokens, the pooled ones marked with *.
 * @throws UserError where the stage is not there or the data cannot be read
 */
export async function inspectData(
  config: RunConfig,
  { stage: name = Object.keys(config.stages)[0] ?? '', batch = 0, count = 4 }: InspectDataOptions = {},
): Promise<string> {
  const stage = config.stages[name];
  if (stage === undefined) {
    throw userError({
      what: 'no such stage',
      got: name,
      expected: `one of ${Object.keys(config.stages).join(', ')}`,
    });
  }
  const source = await openTokenizer(config);
  const recipe = stageRecipe(runRecipe(config, source.mostTokens), stage);
  const names = specialTokens(recipe.pooling);
  const { json, config: more } =
    names.length === 0 || findAddedTokens(source.files, names) !== undefined
      ? source.files
      : withAddedTokens(source.files, names).tokenizer;
  const tokenizer = createTokenizer(json, more);
  if (stage.objective === 'contrastive') {
    const context = { recipe, tokenizer, seed: stageSeed(config.train.seed, name) };
    return describeExamples(config, { name, stage, batch, count, context });
  }
  const prepare = recipePreparer(recipe, tokenizer);
  const texts = await loadTrainingTexts(config);
  try {
    const lines = [`stage ${name} (${stage.objective}): ${texts.texts.length.toLocaleString('en')} texts`];
    for (let index = 0; index < Math.min(count, texts.texts.length); index++) {
      const text = texts.texts.at(index) as string;
      lines.push('', `text ${index + 1}`, ...describeText(text, prepare(text), tokenizer));
    }
    return lines.join('\n');
  } finally {
    texts.close();
  }
}

async function openTokenizer({
  model,
}: RunConfig): Promise<{ readonly files: TokenizerPair; readonly mostTokens: number }> {
  if ('initialise' in model)
    throw userError({ what: 'a decoder that is made from nothing has no tokenizer yet', where: 'model' });
  const source = await openDecoder(model.path);
  try {
    const most = source.config['max_position_embeddings'];
    return { files: source.tokenizer, mostTokens: typeof most === 'number' ? most : Infinity };
  } finally {
    await source.weights.close();
  }
}

interface DescribeOptions extends Required<Pick<InspectDataOptions, 'batch' | 'count'>> {
  readonly name: string;
  readonly stage: ContrastiveStageConfig;
  readonly context: Parameters<typeof contrastiveData>[2];
}

async function describeExamples(
  config: RunConfig,
  { name, stage, batch, count, context }: DescribeOptions,
): Promise<string> {
  const { sets, records } = await loadExamples({ ...config, stages: { [name]: stage } });
  const { mixture, sets: used } = contrastiveData(stage, { exampleSets: sets }, context);
  const lines = [`stage ${name} (contrastive)`];
  for (const [set, { kept, decontaminated, notChosen }] of Object.entries(records)) {
    const left = `${decontaminated} with texts of evaluation sets and ${notChosen} beyond maxExamples left out`;
    lines.push(
      `set ${set}: ${kept.toLocaleString('en')} examples, weight ${sets.get(set)?.weight ?? 0}, ${left}`,
    );
  }
  const drawn = mixture.batch(batch);
  lines.push(
    '',
    `batch ${batch}: ${drawn.length} examples, of which the first ${Math.min(count, drawn.length)}`,
  );
  for (const [index, example] of drawn.slice(0, count).entries()) {
    const set = used[example.set];
    if (set === undefined) continue;
    const { texts, scores } = rolesOf([example], []);
    const score = scores.length === 0 ? '' : `, score ${scores[0] ?? 0}`;
    lines.push('', `example ${index + 1} of ${set.name}${score}`);
    const roles = scores.length > 0 ? ['first', 'second'] : ['query', 'positive'];
    for (const [place, { side, text }] of texts.entries()) {
      const prepared = (side === 'query' ? set.prepareQuery : set.prepareDocument)(text);
      const role = roles[place] ?? `negative ${place - 1}`;
      lines.push(`  ${role}`, ...describeText(text, prepared, context.tokenizer).map((line) => `  ${line}`));
    }
  }
  return lines.join('\n');
}

function describeText(text: string, prepared: TokenizedText, tokenizer: TextTokenizer): string[] {
  const { ids, pool } = prepared;
  const pieces = [...ids].map(
    (id, i) => `${JSON.stringify(tokenizer.decode([id]))}${pool[i] === 1 ? '*' : ''}`,
  );
  const pooled = pool.reduce((sum, value) => sum + value, 0);
  return [
    `  text: ${JSON.stringify(text)}`,
    `  embedded: ${JSON.stringify(decodePooled(prepared, tokenizer))}`,
    `  tokens: ${ids.length}, of which pooled (*): ${pooled}`,
    `    ${pieces.join(' ')}`,
    `    ${[...ids].join(' ')}`,
  ];
}
