import { parsePrompt } from '../data/prompt-frame.js';
import { configSaysBiases } from '../models/added-biases.js';
import type { Adapter } from '../models/weights/index.js';
import { promptParts, type EmbeddingModel, type EmbeddingRecipe } from '../pooling/embedding-model.js';
import type { EmbedderFile } from '../pooling/manifest.js';
import { formatWords, transformersJsType } from './formats/names.js';
import { layerWords } from '../pooling/layers.js';
import { changesVectors, specialTokens } from '../pooling/registry.js';
import type { HeadConfig, PoolingConfig, RoutingConfig } from '../pooling/schema.js';
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

/** The model card of an embedder folder. */
export function modelCard(options: CardOptions): string {
  const { name, model, base, files, metrics } = options;
  const { recipe, lineage } = model;
  const sections = [
    frontMatter(options),
    `# ${name}`,
    `A text-embedding model made of the decoder \`${base}\` with lmvec. Texts become unit vectors of ${options.dimensions} numbers; compare them by their inner product, which is their cosine.`,
    '## Recipe',
    recipeTable(recipe),
    lineage.length === 0
      ? 'Nothing was trained: the weights are those of the decoder.'
      : lineage
          .map(
            ({ stage, objective, steps, tuning }, i) =>
              `${i + 1}. ${stage}: ${objective}, ${steps} steps, ${tuning}`,
          )
          .join('\n'),
    '## Results',
    metrics ?? 'None were given when this folder was written.',
    '## Verification',
    'Each ONNX file was run against the model that it was written from: random tokens, text by text and in batches padded on the right and on the left.',
    verificationTable(files),
    ...setsTable(files),
    '## Use',
    ...usage(options),
    configSaysBiases(model.decoder) ? warning(recipe, options.adapter) : GRAPH_ONLY,
  ];
  return `${sections.join('\n\n')}\n`;
}

function frontMatter({ stock, files }: CardOptions): string {
  const library = !('reason' in stock)
    ? 'sentence-transformers'
    : files.some(({ pooled }) => pooled.kind !== 'input')
      ? 'transformers.js'
      : 'onnx';
  return `---
library_name: ${library}
pipeline_tag: feature-extraction
tags: [sentence-similarity, feature-extraction, onnx, lmvec]
---`;
}

function recipeTable(recipe: EmbeddingRecipe): string {
  const { attention, pooling, maxTokens } = recipe;
  const { frame, pool } = promptParts(recipe);
  const pools = {
    text: 'those of the text, without the prompt',
    lastText: 'those of the last copy of the text',
    marked: 'those of the parts of the prompt that are meant',
    all: 'all',
    last: 'the last one',
  };
  const rows = [
    [
      'attention',
      typeof attention === 'string'
        ? attention
        : `bidirectional in the last ${attention.lastLayers} layers, causal below`,
    ],
    ['pooling', `${poolingWords(pooling)} of ${layerWords(pooling)}`],
    ...('routing' in pooling && pooling.routing !== undefined
      ? [['routing of its experts', routingWords(pooling.routing)]]
      : []),
    ...(pooling.standardise === true
      ? [['standardised', 'each number, by mean and deviation saved with the model']]
      : []),
    ...(pooling.head === undefined ? [] : [['head', headWords(pooling.head)]]),
    ...(pooling.type === 'specialTokens' ? [] : [['pooled tokens', pools[pool]]]),
    ['prompt', frame === undefined ? 'none' : code(frame.template)],
    ...Object.entries(recipe.prompts ?? {}).map(([name, prompt]) => [
      `prompt \`${name}\``,
      code(parsePrompt(prompt).template),
    ]),
    ['longest text', `${maxTokens} tokens, prompt included; longer texts are cut, the prompt is not`],
  ];
  return table(['', ''], rows);
}

function poolingWords(pooling: PoolingConfig): string {
  if (pooling.type !== 'specialTokens') return pooling.type;
  const names = specialTokens(pooling).map(code).join(' ');
  const which = pooling.aggregate === 'mean' ? 'their mean' : 'the last of them';
  return `trained special tokens ${names} behind every text: ${which},`;
}

function routingWords({ combine, alpha, weights, layers }: RoutingConfig): string {
  const how = {
    hs: 'left out: the hidden state alone',
    rw: 'in the place of the hidden state',
    concat: 'joined to the hidden state',
    sum: `joined to the hidden state, each of length 1, the routing times the root of ${alpha}`,
  }[combine];
  const of = layers === 'all' ? 'all their layers' : `their layers ${layers.join(', ')}`;
  return `${weights} of ${of}, pooled as the hidden state is; ${how}`;
}

function headWords(head: HeadConfig): string {
  switch (head.type) {
    case 'dense':
      return `a trained matrix to ${head.dimensions} numbers`;
    case 'truncate':
      return `the first ${head.dimensions} numbers`;
    case 'sparse':
      return `the ${head.keep} largest numbers, others zero`;
  }
}

function verificationTable(files: readonly EmbedderFile[]): string {
  const rows = files.map(({ path, format, verification: v }) => [
    code(path),
    formatWords[format],
    v.largestDifference.toExponential(1),
    `${v.smallestCosine.toFixed(7)}${v.meanCosine === undefined ? '' : `, ${v.meanCosine.toFixed(7)}`}`,
    v.lengths.join(', '),
    v.runtime,
  ]);
  return table(
    [
      'file',
      'numbers',
      'largest difference of a component',
      'smallest, mean cosine',
      'lengths in tokens',
      'runtime',
    ],
    rows,
  );
}

/** What each file loses on real texts; nothing where no sets were given. */
function setsTable(files: readonly EmbedderFile[]): string[] {
  const measured = files.flatMap(({ path, verification: { sets } }) =>
    sets === undefined ? [] : [{ path, sets }],
  );
  const [first] = measured;
  if (first === undefined) return [];
  const { texts, scores } = first.sets;
  const rows = measured.map(({ path, sets }) => [
    code(path),
    sets.smallestCosine.toFixed(5),
    sets.meanCosine.toFixed(5),
    ...sets.scores.map(
      ({ file, model }) =>
        `${(100 * file).toFixed(2)} (${file < model ? '' : '+'}${(100 * (file - model)).toFixed(2)})`,
    ),
  ]);
  return [
    `On the ${texts} texts of ${scores.map(({ task, split }) => `${task} ${split}`).join(', ')}, against the model: cosines of the vectors, and cosine Spearman x 100 with its difference.`,
    table(['file', 'smallest cosine', 'mean cosine', ...scores.map(({ task }) => task)], rows),
  ];
}

function usage({ model, files, stock, name, adapter }: CardOptions): string[] {
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

${paths} ${files.length === 1 ? 'takes' : 'take'} \`input_ids\` and \`attention_mask\`, int64 [batch, sequence], padded on either side, and ${files.length === 1 ? 'gives' : 'give'} \`last_hidden_state\` [batch, sequence, hidden size] and \`sentence_embedding\`, pooled and normalised: the latter is the result.${
    pooling.type === 'specialTokens'
      ? ` The tokenizer puts ${specialTokens(pooling).map(code).join(' ')} behind every text (\`add_special_tokens\`, its default); the last ${pooling.tokens} tokens of \`input_ids\` are taken for them whatever they are, so that a text that was cut behind its special tokens still has them.`
      : ''
  }`;
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

const GRAPH_ONLY =
  'There is no `model.safetensors`: the biases that were trained would be left out wherever it is opened, without an error. The ONNX files hold the whole model.';

function warning(recipe: EmbeddingRecipe, adapter: CardOptions['adapter']): string {
  if (recipe.attention === 'causal') return '';
  if (adapter !== undefined)
    return `> **Warning.** The adapter was trained with ${typeof recipe.attention === 'string' ? 'bidirectional attention' : 'attention that is bidirectional in the last layers only, which no `config.json` can say'}. On a base that is opened with its own \`config.json\` it computes wrong vectors without an error${recipe.attention === 'bidirectional' ? "; with this folder's, transformers 5.2 or later computes the right ones" : ''}. The ONNX file holds its attention inside and is the one to trust.`;
  const said =
    recipe.attention === 'bidirectional'
      ? '`config.json` says `"is_causal": false`, which transformers reads from version 5.2 on; older versions, and every other loader of causal language models,'
      : 'No `config.json` can say that only the last layers look at later tokens, so every loader of causal language models';
  return `> **Warning.** \`model.safetensors\` works with bidirectional attention. ${said} will load it without an error and compute wrong vectors. The ONNX file holds its attention inside and is the one to trust.`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text.replaceAll('\n', '\\n').replaceAll('`', "'")}\``;
}
