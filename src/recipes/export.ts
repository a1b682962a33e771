import { chooseRuntime } from '../compiler/runtime.js';
import { checkNewEmbedderFolder, exportFolder } from '../export/folder.js';
import { exportedAdapter } from '../export/adapter.js';
import type { OnnxFilesOptions } from '../export/onnx-files.js';
import type { ExportedWeights } from '../export/schema.js';
import { localModel } from '../models/weights/index.js';
import { loadTasks } from '../evaluation/sts.js';
import type { EmbedderFile } from '../pooling/manifest.js';
import { loadEmbeddingModel } from '../pooling/load-model.js';
import type { EmbeddingModel } from '../pooling/embedding-model.js';
import { embeddingDimensions, type PoolingSize } from '../pooling/registry.js';
import type { PoolingConfig } from '../pooling/schema.js';
import { userError } from '../shared/errors.js';
import { recipeOverrides, type ModelOptions } from './open-model.js';

export interface ExportEmbedderOptions extends ModelOptions, Pick<OnnxFilesOptions, 'formats' | 'evaluate'> {
  /** The embedder folder. */
  readonly output: string;
  /** The first numbers of each vector, at length 1 again: for models trained for it (Matryoshka). */
  readonly dimensions?: number;
  /** Beside the ONNX files (default merged): all weights, or one PEFT adapter on the base that was trained. */
  readonly weights?: ExportedWeights;
  /** Replace an older embedder folder. */
  readonly overwrite?: boolean;
  /** Results as markdown, for the card. */
  readonly metrics?: string;
}

/** Writes a model as an embedder folder that other tools open, verified; returns a sentence for the user. @throws UserError */
export async function exportEmbedder(options: ExportEmbedderOptions): Promise<string> {
  const { model: path, output, overwrite, metrics, formats, evaluate } = options;
  const { threads, device, computePrecision = 'float32' } = options;
  if (computePrecision !== 'float32')
    throw userError({
      what: 'an exported file is verified in float32',
      where: '--compute-precision',
      got: computePrecision,
      expected: 'float32',
      hint: 'a file that multiplies halves: --formats fp16',
    });
  const runtime = await chooseRuntime({
    ...(threads === undefined ? {} : { threads }),
    ...(device === undefined ? {} : { device }),
  });
  if (evaluate !== undefined) await loadTasks(evaluate);
  await checkNewEmbedderFolder(output, overwrite === true);
  const whole = await loadEmbeddingModel(path, recipeOverrides(options));
  const model = options.dimensions === undefined ? whole : shortened(whole, options.dimensions);
  const adapter =
    options.weights === 'adapter' ? await exportedAdapter(await localModel(path), whole) : undefined;
  const { files } = await exportFolder(model, output, {
    ...(overwrite === undefined ? {} : { overwrite }),
    ...(metrics === undefined ? {} : { metrics }),
    ...(adapter === undefined ? {} : { adapter }),
    ...runtime,
    ...(formats === undefined ? {} : { formats }),
    ...(evaluate === undefined ? {} : { evaluate }),
  });
  return `${output}: ${files.map(describeFile).join(', ')}`;
}

function shortened(model: EmbeddingModel, dimensions: number): EmbeddingModel {
  const { pooling } = model.recipe;
  const where = '--dimensions';
  return {
    ...model,
    recipe: {
      ...model.recipe,
      pooling: shortenedPooling(pooling, model.decoder.config, { dimensions, where }),
    },
  };
}

/**
 * A pooling of whose vectors the first numbers are kept.
 * @param options.where what said so, for errors
 * @throws UserError where the vectors are not that long, or have another head
 */
export function shortenedPooling(
  pooling: PoolingConfig,
  size: PoolingSize,
  { dimensions, where }: { readonly dimensions: number; readonly where: string },
): PoolingConfig {
  const most = embeddingDimensions(pooling, size);
  if (pooling.head !== undefined && pooling.head.type !== 'truncate')
    throw userError({
      what: `the first numbers of a ${pooling.head.type} head are not exported apart`,
      where,
      got: String(dimensions),
      expected: `all ${most}`,
    });
  if (!Number.isInteger(dimensions) || dimensions < 1 || dimensions > most)
    throw userError({
      what: 'unusable number of dimensions',
      where,
      got: String(dimensions),
      expected: `1 to ${most}`,
    });
  return { ...pooling, head: { type: 'truncate', dimensions } };
}

function describeFile({ path, format, verification }: EmbedderFile): string {
  const { largestDifference, meanCosine = NaN, smallestCosine, sets } = verification;
  if (format === 'float32')
    return `${path} (differs from the model by at most ${largestDifference.toExponential(1)})`;
  const cosines = sets ?? { meanCosine, smallestCosine };
  const scores = (sets?.scores ?? []).map(
    ({ task, file, model }) => `, ${task} ${(100 * file).toFixed(2)} instead of ${(100 * model).toFixed(2)}`,
  );
  return `${path} (cosine with the model ${cosines.meanCosine.toFixed(4)} on average, at least ${cosines.smallestCosine.toFixed(4)}${scores.join('')})`;
}
