import { ADDED_ROWS, addedRows } from '../models/added-tokens.js';
import type { Decoder } from '../models/decoder.js';
import { initialiseLora } from '../models/lora.js';
import { isPacked } from '../models/resident.js';
import type { TuningConfig } from '../models/schema.js';
import { biasNames } from '../models/weight-shapes.js';
import { assertNever, userError } from '../shared/errors.js';
import type { EmbeddingRecipe } from '../pooling/embedding-model.js';
import type { DecoderStageConfig } from './schema.js';
import type { TrainingState } from './stage-runner.js';

/** What is trained of the decoder: fresh adapters, its own weights or some of them, or nothing. */
export function trainedWeights(
  decoder: Decoder,
  tuning: TuningConfig,
  seed: number,
): Map<string, Float32Array> {
  switch (tuning.type) {
    case 'lora':
      return initialiseLora(decoder.config, tuning, seed);
    case 'full':
      return float32Weights(decoder);
    case 'bitfit':
      return blockBiases(decoder);
    case 'none':
      return new Map();
    default:
      return assertNever(tuning);
  }
}

/** What decides whether the rows of a pooling's special tokens are trained. */
export interface RowsChoice {
  readonly recipe: Pick<EmbeddingRecipe, 'pooling'>;
  readonly stage: Pick<DecoderStageConfig, 'objective'>;
  readonly tuning: TuningConfig;
}

/** Whether a stage trains the rows of special tokens: it has to embed texts, as no running text holds them. Full tuning trains them with their table. */
export function trainsRows({ recipe, stage, tuning }: RowsChoice): boolean {
  const embeds = stage.objective === 'simcse' || stage.objective === 'contrastive';
  return recipe.pooling.type === 'specialTokens' && embeds && tuning.type !== 'full';
}

/** The rows of special tokens, where the stage trains them: [t, width], the table's own memory. */
export function trainedRows(decoder: Decoder, choice: RowsChoice): Map<string, Float32Array> {
  return new Map(trainsRows(choice) ? [[ADDED_ROWS, addedRows(decoder)]] : []);
}

/** @throws UserError where the decoder has none */
function blockBiases(decoder: Decoder): Map<string, Float32Array> {
  const names = new Set(biasNames(decoder.config, decoder.weights.keys()));
  if (names.size === 0) {
    throw userError({
      what: `a ${decoder.config.model_type} decoder has no biases that BitFit could train`,
      where: 'tuning.type',
      got: 'bitfit',
      expected: 'lora or full',
    });
  }
  return new Map([...float32Weights(decoder)].filter(([name]) => names.has(name)));
}

/** @throws UserError where some are packed */
function float32Weights({ weights }: Decoder): Map<string, Float32Array> {
  return new Map(
    [...weights].map(([name, weight]) => {
      if (!isPacked(weight)) return [name, weight];
      throw userError({
        what: 'weights of the decoder itself are trained in float32',
        where: 'model.residentPrecision',
        got: weight.storedType,
        expected: 'float32',
      });
    }),
  );
}

/** A pooling that an earlier stage trained, or that the model came with, goes on from there. */
export function inheritedPooling(
  fresh: Map<string, Float32Array>,
  earlier: readonly (ReadonlyMap<string, Float32Array> | undefined)[],
): Map<string, Float32Array> {
  for (const parameters of earlier) {
    for (const [name, values] of fresh) {
      const learned = parameters?.get(name);
      if (learned !== undefined && learned.length === values.length) values.set(learned);
    }
  }
  return fresh;
}

/** Copies a saved state into the live parameters. @throws UserError where names or sizes do not fit */
export function restoreParameters(parameters: ReadonlyMap<string, Float32Array>, state: TrainingState): void {
  for (const [name, values] of parameters) {
    const saved = state.parameters.get(name);
    if (saved?.length !== values.length) {
      throw userError({
        what: `the checkpoint does not fit the configuration at ${name}`,
        got: `${saved?.length ?? 'no'} values`,
        expected: `${values.length}`,
      });
    }
    values.set(saved);
  }
}

/** Whether weight decay applies to a parameter: matrices, not norms and biases. */
export function isMatrix(name: string, decoder: Decoder): boolean {
  if (name.includes('.lora_')) return true;
  const shape = decoder.shapes.get(name);
  return shape === undefined ? !name.includes('norm') && !name.endsWith('.bias') : shape.length > 1;
}

/** Numbers of all parameters together. */
export function sizeOf(parameters: ReadonlyMap<string, Float32Array>): number {
  let count = 0;
  for (const values of parameters.values()) count += values.length;
  return count;
}
