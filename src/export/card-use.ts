import type { Adapter } from '../models/weights/index.js';
import { promptParts, type EmbeddingModel, type EmbeddingRecipe } from '../pooling/embedding-model.js';
import type { EmbedderFile } from '../pooling/manifest.js';
import { appendsEos, changesVectors, specialTokens } from '../pooling/registry.js';
import type { PoolingConfig } from '../pooling/schema.js';
import { transformersJsType } from './formats/names.js';
import { code } from './markdown.js';
import { defaultPromptName, plainPrompts, type StockModules } from './sentence-transformers.js';

export interface CardOptions {
  readonly name: string;
  readonly model: Pick<EmbeddingModel, 'recipe' | 'lineage' | 'decoder'>;
  readonly base: string;
  readonly files: readonly EmbedderFile[];
  readonly stock: StockModules | { readonly reason: string };
  /** The adapter that lies in the place of the merged weights. */
  readonly adapter?: Pick<Adapter, 'baseModel' | 'revision'> | undefined;
  readonly dimensions: number;
  /** Markdown, from whoever measured. */
  readonly metrics?: string;
}

/** How each tool opens the folder, as markdown. */
export function usage({ model, files, stock, name, adapter }: CardOptions): string[] {
  const { frame } = promptParts(model.recipe);
  const twoInputs = files.filter(({ pooled }) => pooled.kind !== 'input');
  const framed =
    frame === undefined
      ? []
      : [
          `**Every text has to stand in the prompt** ${code(frame.template)} (lmvec does it by itself). ${
            model.recipe.prompt === undefined
              ? ''
              : 'Its whole frame belongs around each text before it is tokenised; without it the vectors are others.'
          }`,
        ];
  const lmvec = `### lmvec

\`\`\`
lmvec embed --model ${name}/ --input sentences.txt --output vectors.jsonl
\`\`\`

\`\`\`ts
import { Embedder } from 'lmvec';
const embedder = await Embedder.open('${name}');
const vectors = await embedder.encode(['first text', 'second text']);
\`\`\``;
  if (twoInputs.length === 0) {
    return [
      ...framed,
      lmvec,
      '### Other tools',
      ...(adapter === undefined ? [] : [peft(adapter, name)]),
      'There is no ONNX file with two inputs: which tokens are pooled depends on where the text lies in its prompt, and `input_ids` and `attention_mask` do not say. transformers.js, text-embeddings-inference and sentence-transformers therefore cannot use this folder. In ONNX Runtime, give the files named `model_pool_mask` a third input `pool_mask`, 1 for the tokens of the text.',
    ];
  }
  return [
    ...framed,
    lmvec,
    transformersJs(model.recipe, twoInputs),
    onnxRuntimeUse(model.recipe, twoInputs),
    textEmbeddingsInference(model.recipe, { stock, name }),
    sentenceTransformers(stock, name, adapter),
    ...(adapter === undefined ? [] : [peft(adapter, name)]),
  ];
}

function transformersJs(recipe: EmbeddingRecipe, files: readonly EmbedderFile[]): string {
  const [first, ...others] = files.map(({ format }) => `'${transformersJsType[format]}'`);
  const types = others.length === 0 ? '' : ` // or ${others.join(', ')}`;
  const { frame } = promptParts(recipe);
  const text =
    frame === undefined ? "'a text'" : JSON.stringify(frame.template.replaceAll('{text}', 'a text'));
  return `### transformers.js

\`\`\`js
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const model = await AutoModel.from_pretrained(folder, { dtype: ${first} });${types}
const { sentence_embedding } = await model(await tokenizer([${text}], { padding: true, truncation: true }));
\`\`\`

${pipelineNote(recipe)}`;
}

/** The pipeline pools \`last_hidden_state\` itself, in the ways that it knows. */
function pipelineNote(recipe: EmbeddingRecipe): string {
  const pooling = pipelinePooling(recipe);
  return pooling === undefined
    ? 'Its `feature-extraction` pipeline pools by itself and does not know this pooling: use `sentence_embedding`.'
    : `Its \`feature-extraction\` pipeline gives the same with \`{ pooling: '${pooling}', normalize: true }\`.`;
}

function pipelinePooling(recipe: EmbeddingRecipe): string | undefined {
  const { pool } = promptParts(recipe);
  const { type } = recipe.pooling;
  if (pool !== 'all' && pool !== 'last') return undefined;
  if (type === 'latentAttention' || recipe.pooling.head !== undefined || changesVectors(recipe.pooling))
    return undefined;
  if (recipe.pooling.type === 'specialTokens')
    return recipe.pooling.aggregate === 'last' || recipe.pooling.tokens === 1 ? 'last_token' : undefined;
  if (type === 'last' || type === 'eos') return 'last_token';
  if (pool === 'last') return undefined;
  return type === 'mean' ? 'mean' : type === 'first' ? 'cls' : undefined;
}

function onnxRuntimeUse({ pooling }: EmbeddingRecipe, files: readonly EmbedderFile[]): string {
  const paths = files.map(({ path }) => code(path)).join(', ');
  return `### ONNX Runtime

${paths} ${files.length === 1 ? 'takes' : 'take'} \`input_ids\` and \`attention_mask\`, int64 [batch, sequence], padded on either side, and ${files.length === 1 ? 'gives' : 'give'} \`last_hidden_state\` [batch, sequence, hidden size] and \`sentence_embedding\`, pooled and normalised: the latter is the result.${endingNote(pooling)}`;
}

/** What the graph does to the end of a text, where something stands there. */
function endingNote(pooling: PoolingConfig): string {
  const special = specialTokens(pooling);
  if (special.length === 0 && !appendsEos(pooling)) return '';
  const what = special.length === 0 ? 'its end token' : special.map(code).join(' ');
  const [taken, them] =
    special.length > 1
      ? [`the last ${special.length} tokens of \`input_ids\` are`, 'them']
      : ['the last token of `input_ids` is', 'it'];
  return ` The tokenizer puts ${what} behind every text (\`add_special_tokens\`, its default); ${taken} taken for ${them}, so that a text that was cut at its end still has ${them}.`;
}

/** It reads prompts and the longest text from the same files as sentence-transformers, its pooling only from 1_Pooling. */
function textEmbeddingsInference(
  recipe: EmbeddingRecipe,
  { stock, name }: Pick<CardOptions, 'stock' | 'name'>,
): string {
  const plain = plainPrompts(recipe);
  const promptName = plain === undefined ? null : defaultPromptName(plain);
  const options = [
    ...('reason' in stock ? ['--pooling mean'] : []),
    ...(promptName === null ? [] : [`--default-prompt-name ${promptName}`]),
  ];
  const notes = [
    ...('reason' in stock
      ? [
          'It asks for a pooling where there is no `1_Pooling`, and takes `sentence_embedding` all the same; a version that pools by itself gives other vectors.',
        ]
      : []),
    ...(plain === undefined
      ? ['It can only put something before a text: what else the prompt does is yours to do.']
      : promptName === null
        ? []
        : ['Without the name of the prompt it embeds bare texts.']),
  ];
  return `### text-embeddings-inference\n\n\`\`\`\ntext-embeddings-router --model-id ${[name, ...options].join(' ')}\n\`\`\`\n\n${notes.join(' ')}`.trimEnd();
}

/** How peft gives the model: its `config.json` says the attention, the base's does not. */
function peft({ baseModel, revision }: NonNullable<CardOptions['adapter']>, name: string): string {
  const own =
    baseModel === 'embedded' ? ' `embedded` is the folder `assets/tiny` of lmvec: give its path.' : '';
  const at = revision === undefined ? '' : `, revision='${revision}'`;
  return `### PEFT

\`adapter_model.safetensors\` is one adapter of everything that was trained, for the base ${code(baseModel)} as it was.${own}

\`\`\`python
config = AutoConfig.from_pretrained('${name}')
base = AutoModel.from_pretrained('${baseModel}', config=config${at})
model = PeftModel.from_pretrained(base, '${name}')  # hidden states, not pooled
\`\`\``;
}

function sentenceTransformers(
  stock: CardOptions['stock'],
  name: string,
  adapter: CardOptions['adapter'],
): string {
  const title = '### sentence-transformers';
  if ('reason' in stock)
    return `${title}\n\nNot with this model: ${stock.reason}. \`modules.json\` names a module that does not exist, so that a \`SentenceTransformer\` stops there and does not pool in another way without saying so. Use the ONNX file.`;
  return `${title}

\`\`\`python
model = SentenceTransformer('${name}')${adapter === undefined ? '  # transformers 5.2 or later: see the warning' : ''}
embeddings = model.encode(['a text'])
\`\`\`${
    adapter === undefined
      ? ''
      : '\n\nIt needs peft. In a copy on disk it looks for whole weights beside `config.json`, and says so: take that file out of the copy.'
  }`;
}
