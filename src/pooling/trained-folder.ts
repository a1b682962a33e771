import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { addedBiases, configSaysBiases } from '../models/added-biases.js';
import { ADDED_ROWS, addedRows } from '../models/added-tokens.js';
import { configText } from '../models/config-text.js';
import type { Decoder } from '../models/decoder.js';
import { matrixLayout, mergeLora } from '../models/lora.js';
import { isPacked, valuesOf } from '../models/resident.js';
import type { ProbeResult } from '../models/probe.js';
import type { TuningConfig } from '../models/schema.js';
import {
  lastingModel,
  locateModel,
  writeAdapter,
  writeSafetensors,
  type TensorToWrite,
} from '../models/weights/index.js';
import { internalError, userError, type UserError } from '../shared/errors.js';
import { writeFileAtomic } from '../shared/files.js';
import type { EmbeddingRecipe, LineageStep } from './embedding-model.js';
import { writeManifest, type BaseReference } from './manifest.js';
import { savedShapes, specialTokens, type PoolingSize } from './registry.js';

type LoraTuning = Extract<TuningConfig, { readonly type: 'lora' }>;

/** An earlier stage, already merged into the decoder's weights. */
export interface MergedStage {
  readonly name: string;
  readonly tuning: TuningConfig;
  readonly parameters: ReadonlyMap<string, Float32Array>;
}

/** A model in training. */
export interface TrainedModel {
  /** With all earlier stages merged, without this one's adapter. */
  readonly decoder: Decoder;
  readonly recipe: EmbeddingRecipe;
  readonly tuning: TuningConfig;
  /** What this stage trains: adapters or weights, and the pooling's parameters. */
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly previous: readonly MergedStage[];
  readonly lineage: readonly LineageStep[];
  readonly base: BaseReference;
  readonly probe?: ProbeResult;
}

/** Biases that BitFit added to a decoder, beside its untouched base. */
export const BIASES = 'biases.safetensors';

/**
 * Fills a run's best/ or last/. Adapters as peft lays them out, this stage's in the folder and earlier stages' in previous/<stage>/, beside
 * biases.safetensors where BitFit added biases; where any stage tuned weights of the decoder itself, the merged weights in float32 instead.
 * `loadEmbeddingModel` gives back the same model, bit for bit.
 */
export async function saveTrained(folder: string, model: TrainedModel): Promise<void> {
  const { decoder, recipe, tuning, previous, lineage, base, probe } = model;
  const biases = addedBiases(decoder.config);
  const added = biases.length > 0;
  const lora = [tuning, ...previous.map((stage) => stage.tuning)].every(
    ({ type }) => type === 'lora' || type === 'none' || (added && type === 'bitfit'),
  );
  if (!lora && !configSaysBiases(decoder)) throw unsaidBiases(decoder.config.model_type);
  // peft would put an adapter beside the description on the base without the biases: it lies with the earlier ones.
  const last = { name: lineage.at(-1)?.stage ?? '', tuning, parameters: model.parameters };
  const adapted = [...previous, ...(added ? [last] : [])].filter((stage) => stage.tuning.type === 'lora');
  const ownAdapter = lora && !added && tuning.type === 'lora';
  if (lora) {
    if (added) await saveBiases(folder, model, biases);
    if (ownAdapter) await saveAdapter(folder, { parameters: model.parameters, tuning, base, decoder });
    for (const stage of adapted)
      await saveAdapter(join(folder, 'previous', stage.name), { ...stage, base, decoder });
  } else await writeSafetensors(join(folder, 'model.safetensors'), mergedWeights(model));
  // A base has no rows of added tokens; merged weights have them in their table.
  const rows = lora && specialTokens(recipe.pooling).length > 0 ? [rowsOfTokens(decoder)] : [];
  await savePooling(folder, { recipe, size: decoder.config, parameters: model.parameters, further: rows });
  await saveDescription(folder, decoder, decoder.rawConfig);
  await writeManifest(folder, {
    kind: lora ? 'adapter' : 'weights',
    recipe,
    lineage: [...lineage],
    base,
    previous: lora ? adapted.map(({ name }) => name) : [],
    ownAdapter: !lora || ownAdapter,
    biases: lora && added,
    files: [],
    ...(probe === undefined ? {} : { probe }),
  });
}

async function saveBiases(
  folder: string,
  { decoder, parameters }: Pick<TrainedModel, 'decoder' | 'parameters'>,
  names: readonly string[],
): Promise<void> {
  const tensors = names.map((name): TensorToWrite => {
    const weight = decoder.weights.get(name);
    const shape = decoder.shapes.get(name);
    if (weight === undefined || shape === undefined) throw internalError(`no bias ${name}`);
    return { name, shape, storedType: 'F32', data: parameters.get(name) ?? valuesOf(weight) };
  });
  await writeSafetensors(join(folder, BIASES), tensors);
}

/** What cannot be whole weights that every tool reads right. */
export function unsaidBiases(modelType: string): UserError {
  return userError({
    what: `no config.json of a ${modelType} model says that its matrices have biases, so that BitFit's cannot be saved among whole weights`,
    hint: 'BitFit goes with LoRA stages on the base that was given',
  });
}

/** A decoder on disk, so that it is found and recognised again. */
export async function baseReference(model: string): Promise<BaseReference> {
  return model === 'embedded'
    ? { path: model }
    : { path: await lastingModel(model), bytes: await weightBytes(model) };
}

/** Bytes of a decoder's weight files, those of adapters included. */
export async function weightBytes(model: string): Promise<number> {
  const { base, adapters } = await locateModel(model);
  let bytes = 0;
  for (const path of [base, ...adapters]) {
    const stats = await stat(path);
    if (!stats.isDirectory()) bytes += stats.size;
    else
      for (const name of await readdir(path))
        if (/^(?:adapter_)?model.*\.safetensors$/.test(name)) bytes += (await stat(join(path, name))).size;
  }
  return bytes;
}

/** config.json, tokenizer.json and tokenizer_config.json. */
async function saveDescription(
  folder: string,
  { tokenizer }: Pick<Decoder, 'tokenizer'>,
  config: Readonly<Record<string, unknown>>,
): Promise<void> {
  const files: Readonly<Record<string, string>> = {
    'config.json': configText(config),
    'tokenizer.json': JSON.stringify(tokenizer.json),
    'tokenizer_config.json': `${JSON.stringify(tokenizer.config, null, 2)}\n`,
  };
  for (const [name, text] of Object.entries(files)) await writeFileAtomic(join(folder, name), text);
}

async function saveAdapter(
  folder: string,
  stage: {
    readonly tuning: TuningConfig;
    readonly parameters: ReadonlyMap<string, Float32Array>;
    readonly base: BaseReference;
    readonly decoder: Decoder;
  },
): Promise<void> {
  const { rank, alpha, dropout } = loraOf(stage.tuning);
  const tensors = new Map([...stage.parameters].filter(([name]) => /\.lora_[AB]\.weight$/.test(name)));
  const targetModules = [...new Set([...tensors.keys()].map((name) => name.split('.').at(-3) ?? ''))];
  const layout = matrixLayout(stage.decoder.config);
  const baseModel = stage.base.path;
  await writeAdapter(folder, { rank, alpha, dropout, targetModules, baseModel, layout, tensors });
}

function rowsOfTokens(decoder: Decoder): TensorToWrite {
  const data = addedRows(decoder);
  const { width } = decoder.config.embedding;
  return { name: ADDED_ROWS, shape: [data.length / width, width], storedType: 'F32', data };
}

/** Writes pooling.safetensors where the pooling is trained. */
export async function savePooling(
  folder: string,
  model: {
    readonly recipe: EmbeddingRecipe;
    readonly size: PoolingSize;
    readonly parameters: ReadonlyMap<string, Float32Array>;
    readonly further?: readonly TensorToWrite[];
  },
): Promise<void> {
  const shapes = savedShapes(model.recipe.pooling, model.size);
  const { further = [] } = model;
  if (shapes.size + further.length === 0) return;
  const tensors = [...shapes].map(([name, shape]): TensorToWrite => {
    const data = model.parameters.get(name);
    if (data === undefined) throw internalError(`no pooling parameter ${name}`);
    return { name, shape, storedType: 'F32', data };
  });
  await writeSafetensors(join(folder, 'pooling.safetensors'), [...tensors, ...further]);
}

/** All weights with this stage's adapter merged, one at a time. */
function mergedWeights({ decoder, tuning, parameters }: TrainedModel): TensorToWrite[] {
  return [...decoder.weights].map(([name, base]): TensorToWrite => {
    const shape = decoder.shapes.get(name);
    if (shape === undefined) throw internalError(`no shape for ${name}`);
    const stem = name.slice(0, -'.weight'.length);
    const [a, b] = ['A', 'B'].map((side) => parameters.get(`${stem}.lora_${side}.weight`));
    const data = (): Float32Array => {
      if (a === undefined || b === undefined) return parameters.get(name) ?? valuesOf(base);
      const { rank, alpha } = loraOf(tuning);
      const merged = isPacked(base) ? valuesOf(base) : base.slice();
      mergeLora(merged, a, b, { rank, scale: alpha / rank, layout: matrixLayout(decoder.config) });
      return merged;
    };
    return { name, shape, storedType: 'F32', data };
  });
}

function loraOf(tuning: TuningConfig): LoraTuning {
  if (tuning.type !== 'lora') throw internalError('adapters without a rank');
  return tuning;
}
