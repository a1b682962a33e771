import { readFile } from 'node:fs/promises';
import { chooseRuntime } from '../compiler/runtime.js';
import { parseSentences } from '../embedder/sentences.js';
import {
  alignmentUniformity,
  croppedPairs,
  scoredPairs,
  type AlignmentUniformity,
  type PositivePairs,
} from '../evaluation/alignment.js';
import { layerPlot } from '../evaluation/layer-plot.js';
import { loadTasks, type TaskSelection } from '../evaluation/sts.js';
import { loadEmbeddingModel } from '../pooling/load-model.js';
import { createModelEncoder } from '../pooling/packed-encoder.js';
import { poolingSchema } from '../pooling/schema.js';
import { userError } from '../shared/errors.js';
import { statOrUserError, writeFileAtomic } from '../shared/files.js';
import { recipeOverrides, type ModelOptions } from './open-model.js';

export interface LayersOptions extends ModelOptions {
  /** A file with one text a line: two crops of each are a pair. */
  readonly texts?: string;
  /** In its place: sets of scored pairs. */
  readonly sets?: TaskSelection;
  /** At most this many texts, or pairs of a set (default 500). */
  readonly limit?: number;
  /** An SVG file. */
  readonly plot?: string;
}

export interface LayersReport {
  /** By layer: 0 the input embeddings, the last one normed. */
  readonly layers: readonly AlignmentUniformity[];
  /** The layer that aligns best, and the most uniform one. */
  readonly best: { readonly alignment: number; readonly uniformity: number };
  /** The table as text. */
  readonly text: string;
}

/** Measures alignment and uniformity of every layer on the user's text: which layers LMORT should read. @throws UserError */
export async function measureLayers(options: LayersOptions): Promise<LayersReport> {
  const { texts, pairs } = await positivePairs(options);
  const model = await loadEmbeddingModel(options.model, recipeOverrides(options));
  const { pooling } = model.recipe;
  const depths = Array.from({ length: model.decoder.config.num_hidden_layers + 1 }, (_, depth) => depth);
  // What is trained for one layer says nothing of another: those poolings are measured by their mean.
  const trained = ['latentAttention', 'selfAttention', 'lmort', 'specialTokens'] as const;
  const plain = (trained as readonly string[]).includes(pooling.type) ? 'mean' : pooling.type;
  const [first, ...further] = depths.map((layer) => poolingSchema.parse({ type: plain, layer }));
  if (first === undefined) throw userError({ what: 'a decoder without layers', where: options.model });
  const encoder = createModelEncoder(
    { ...model, recipe: { ...model.recipe, pooling: first } },
    { ...(await chooseRuntime(options)), furtherPoolings: further },
  );
  const embeddings = await encoder.encodeAll(texts).finally(() => encoder.dispose());
  const layers = embeddings.map((matrix) => alignmentUniformity(matrix, pairs));
  const least = (values: readonly number[]): number => values.indexOf(Math.min(...values));
  const best = {
    alignment: least(layers.map(({ alignment }) => alignment)),
    uniformity: least(layers.map(({ uniformity }) => uniformity)),
  };
  if (options.plot !== undefined)
    await writeFileAtomic(
      options.plot,
      layerPlot([
        { name: 'alignment', values: layers.map(({ alignment }) => alignment) },
        { name: 'uniformity', values: layers.map(({ uniformity }) => uniformity) },
      ]),
    );
  return { layers, best, text: tableOf(layers, best, { texts, pairs }) };
}

async function positivePairs({ texts, sets, limit = 500 }: LayersOptions): Promise<PositivePairs> {
  if ((texts === undefined) === (sets === undefined))
    throw userError({
      what: 'layers are measured on texts or on scored pairs',
      expected: 'one of --texts and --tasks',
    });
  const found =
    texts === undefined ? await pairsOfSets(sets as TaskSelection, limit) : await pairsOfTexts(texts, limit);
  if (found.pairs.length > 0 && found.texts.length > 2) return found;
  throw userError({
    what: 'too few texts to measure layers on',
    where: texts ?? 'tasks',
    got: `${found.texts.length} texts with ${found.pairs.length} pairs that mean the same`,
    expected: 'more',
  });
}

async function pairsOfTexts(path: string, limit: number): Promise<PositivePairs> {
  await statOrUserError(path, 'texts');
  const texts = parseSentences(await readFile(path), path);
  const stride = Math.max(1, Math.floor(texts.length / limit));
  return croppedPairs(texts.filter((_, i) => i % stride === 0).slice(0, limit));
}

async function pairsOfSets(sets: TaskSelection, limit: number): Promise<PositivePairs> {
  const tasks = await loadTasks(sets);
  return scoredPairs(
    tasks.map(({ gold, first, second }) => ({
      gold: gold.subarray(0, limit),
      first: first.slice(0, limit),
      second: second.slice(0, limit),
    })),
  );
}

function tableOf(
  layers: readonly AlignmentUniformity[],
  best: LayersReport['best'],
  { texts, pairs }: PositivePairs,
): string {
  const rows = layers.map(({ alignment, uniformity }, layer) => {
    const mark = [
      layer === best.alignment ? 'aligns best' : '',
      layer === best.uniformity ? 'most uniform' : '',
    ]
      .filter((word) => word !== '')
      .join(', ');
    return `${String(layer).padStart(5)}  ${alignment.toFixed(4).padStart(9)}  ${uniformity.toFixed(4).padStart(10)}  ${mark}`.trimEnd();
  });
  return [
    'layer  alignment  uniformity',
    ...rows,
    `${texts.length} texts, ${pairs.length} pairs. For a tuner over the two: pooling: {type: lmort, layer: [${best.alignment}, ${best.uniformity}]}`,
  ].join('\n');
}
