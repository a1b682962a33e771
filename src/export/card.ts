import { parsePrompt } from '../data/prompt-frame.js';
import { configSaysBiases } from '../models/added-biases.js';
import { promptParts, type EmbeddingRecipe } from '../pooling/embedding-model.js';
import type { EmbedderFile } from '../pooling/manifest.js';
import { formatWords } from './formats/names.js';
import { layerWords } from '../pooling/layers.js';
import { specialTokens } from '../pooling/registry.js';
import type { HeadConfig, PoolingConfig, RoutingConfig } from '../pooling/schema.js';
import { usage, type CardOptions } from './card-use.js';
import { code, table } from './markdown.js';

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
