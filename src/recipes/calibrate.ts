import { readFile } from 'node:fs/promises';
import type { RuntimeOptions } from '../compiler/program.js';
import { chooseRuntime } from '../compiler/runtime.js';
import { rangesFile, rangesOf } from '../embedder/quantise.js';
import { parseSentences } from '../embedder/sentences.js';
import type { EmbeddingModel } from '../pooling/embedding-model.js';
import { loadEmbeddingModel } from '../pooling/load-model.js';
import { createModelEncoder, type Embeddings } from '../pooling/packed-encoder.js';
import { STATISTICS_DEVIATION, STATISTICS_MEAN } from '../pooling/routing.js';
import { poolingSchema, type PoolingConfig } from '../pooling/schema.js';
import { baseReference, saveTrained } from '../pooling/trained-folder.js';
import { userError } from '../shared/errors.js';
import { exists, statOrUserError, writeFileAtomic, writeFolderAtomic } from '../shared/files.js';
import { openModel, recipeOverrides, type ModelOptions } from './open-model.js';

export interface CalibrateOptions extends ModelOptions {
  /** A file with one text a line. */
  readonly texts: string;
  /** The folder of the calibrated model. */
  readonly output: string;
}

/**
 * Measures the least and the greatest value of every number of a model's vectors over texts, and saves them as an .npy file: int8 vectors are
 * laid between them.
 * @returns the number of texts
 * @throws UserError
 */
export async function calibrateRanges(options: CalibrateOptions): Promise<number> {
  const texts = await calibrationTexts(options);
  if (!options.output.endsWith('.npy'))
    throw userError({ what: 'ranges are an .npy file', where: '--output', got: options.output });
  const opened = await openModel({ ...options, probe: false });
  const vectors = await opened.encode(texts).finally(() => opened.close());
  await writeFileAtomic(options.output, rangesFile(rangesOf(vectors)));
  return texts.length;
}

async function calibrationTexts({ texts: path, output }: CalibrateOptions): Promise<string[]> {
  if (await exists(output))
    throw userError({ what: 'the output exists', where: output, hint: 'choose another: --output' });
  await statOrUserError(path, 'texts');
  const texts = parseSentences(await readFile(path), path);
  if (texts.length < 2)
    throw userError({ what: 'too few texts to measure', where: path, expected: 'at least 2' });
  return texts;
}

/**
 * Measures mean and deviation of every number of a model's vectors over texts, and saves them with the model: its embeddings are standardised
 * from then on, each by itself, whatever batch it stands in.
 * @returns the number of texts
 * @throws UserError
 */
export async function calibrate(options: CalibrateOptions): Promise<number> {
  const texts = await calibrationTexts(options);
  const { manifest, ...model } = await loadEmbeddingModel(options.model, recipeOverrides(options));
  const statistics = await statisticsOf(model, texts, await chooseRuntime(options));
  const pooling = poolingSchema.parse({ ...model.recipe.pooling, standardise: true });
  const base = await baseReference(options.model);
  await writeFolderAtomic(options.output, (folder) =>
    saveTrained(folder, {
      ...model,
      recipe: { ...model.recipe, pooling },
      // A bare decoder is named; of a trained model all weights are kept.
      tuning: { type: manifest === undefined ? 'none' : 'full' },
      parameters: new Map([...model.poolingParameters, ...statistics]),
      previous: [],
      base,
      ...(manifest?.probe === undefined ? {} : { probe: manifest.probe }),
    }),
  );
  return texts.length;
}

async function statisticsOf(
  model: EmbeddingModel,
  texts: readonly string[],
  runtime: RuntimeOptions,
): Promise<Map<string, Float32Array>> {
  const recipe = { ...model.recipe, pooling: unstandardised(model.recipe.pooling) };
  const encoder = createModelEncoder({ ...model, recipe }, runtime);
  const { mean, deviation } = momentsOf(
    await encoder.encode(texts, { normalise: false }).finally(() => encoder.dispose()),
  );
  return new Map([
    [STATISTICS_MEAN, mean],
    [STATISTICS_DEVIATION, deviation],
  ]);
}

/** The vectors that are standardised: before any head, routing beside the hidden state. */
function unstandardised(pooling: PoolingConfig): PoolingConfig {
  const routing =
    'routing' in pooling && pooling.routing !== undefined
      ? { ...pooling.routing, combine: 'concat' }
      : undefined;
  return poolingSchema.parse({
    ...pooling,
    standardise: undefined,
    head: undefined,
    ...(routing === undefined ? {} : { routing }),
  });
}

/** Mean and standard deviation (N - 1) of each column of rows [N, E]. */
export function momentsOf({ rows, dimensions, data }: Embeddings): {
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
} {
  const mean = new Float64Array(dimensions);
  const squares = new Float64Array(dimensions);
  const at = (row: number, i: number): number => data[row * dimensions + i] as number;
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < dimensions; i++) mean[i] = (mean[i] as number) + at(row, i) / rows;
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < dimensions; i++)
      squares[i] = (squares[i] as number) + (at(row, i) - (mean[i] as number)) ** 2;
  return {
    mean: Float32Array.from(mean),
    deviation: Float32Array.from(squares, (sum) => Math.sqrt(sum / (rows - 1))),
  };
}
