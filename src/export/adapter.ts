import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { DecoderConfig } from '../models/decoder-config.js';
import { structureOf } from '../models/decoder-config.js';
import { checkpointNames } from '../models/families/index.js';
import { matrixLayout } from '../models/lora.js';
import { blockMatrices } from '../models/weight-shapes.js';
import {
  joinAdapters,
  lastingBase,
  locateModel,
  readAdapter,
  type Adapter,
} from '../models/weights/index.js';
import { readJsonFile } from '../models/weights/json-file.js';
import type { EmbeddingModel } from '../pooling/embedding-model.js';
import { adapterFolders, type Manifest } from '../pooling/manifest.js';
import { specialTokens } from '../pooling/registry.js';
import type { PoolingConfig } from '../pooling/schema.js';
import { userError, type UserError } from '../shared/errors.js';
import { exists } from '../shared/files.js';
import { parseHubModel } from '../shared/hub/ids.js';

/** Why a pooling of special tokens has no adapter. */
const TOKENS = 'its special tokens are rows of a table that its base does not have';

/**
 * All adapters that a model has merged as one, which gives the model on its untouched base: peft and transformers put one adapter on a base,
 * and a stage's own belongs on the weights with the earlier ones merged. Named as the decoder alone (AutoModel) names them.
 * @throws UserError where no adapter on a base of transformers is this model
 */
export async function exportedAdapter(
  path: string,
  { decoder, recipe, manifest }: EmbeddingModel & { readonly manifest?: Manifest },
): Promise<Adapter> {
  if (specialTokens(recipe.pooling).length > 0) throw noAdapter(TOKENS, path);
  const described = manifest?.kind === 'embedder' ? undefined : manifest;
  if (described?.kind === 'weights')
    throw noAdapter(
      'its weights were saved whole (full tuning, BitFit or lmvec calibrate), which no adapter holds',
      path,
    );
  if (described?.biases === true)
    throw noAdapter('it has biases that BitFit trained, which no adapter holds', path);
  const ofBase = described?.base.path ?? path;
  const { base, adapters: onBase } = await locateModel(ofBase);
  const folders = [...onBase, ...(described === undefined ? [] : await adapterFolders(path, described))];
  if (folders.length === 0) throw noAdapter('no adapter was trained, or it is merged already', path);
  await checkAdapterBase(base, decoder.rawConfig['model_type']);
  const names = checkpointNames(decoder.rawConfig);
  const layout = matrixLayout(decoder.config);
  const read = await Promise.all(folders.map((folder) => readAdapter(folder, { names, layout })));
  checkNoExperts(read, decoder.config, path);
  const { tensors, ...joined } = joinAdapters(read);
  return {
    ...joined,
    // Only training reads it.
    dropout: 0,
    ...(await namedBase(ofBase)),
    layout,
    taskType: 'FEATURE_EXTRACTION',
    tensors: new Map([...tensors].map(([name, data]) => [withoutPrefix(name, names.prefix), data])),
  };
}

/**
 * @param base a folder or a file of this machine
 * @param modelType of the decoder that was read from it
 * @param pooling of what would be exported
 * @throws UserError where transformers could not put an adapter of ours on it
 */
export async function checkAdapterBase(
  base: string,
  modelType: unknown,
  pooling?: PoolingConfig,
): Promise<void> {
  if (pooling !== undefined && specialTokens(pooling).length > 0) throw noAdapter(TOKENS, base);
  if (!(await stat(base)).isDirectory())
    throw noAdapter('its base is a GGUF file, which no adapter_config.json can name', base);
  const whole = (await readJsonFile(join(base, 'config.json')))?.['model_type'];
  if (whole !== modelType)
    throw noAdapter(
      `its base is a part of a ${String(whole)} model, whose matrices have other names in transformers`,
      base,
    );
}

/** transformers 5 keeps all experts of a block in one tensor, which peft would leave alone without an error. */
function checkNoExperts(adapters: readonly Adapter[], config: DecoderConfig, path: string): void {
  const ofExperts = new Set<string>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const [name, matrix] of Object.entries(
      blockMatrices(structureOf(config, layer), config.hidden_size),
    ))
      if (matrix.expert === true) ofExperts.add(`${config.blocks}${layer}.${name}.lora_A.weight`);
  if (adapters.some(({ tensors }) => [...tensors.keys()].some((name) => ofExperts.has(name))))
    throw noAdapter('matrices of experts were trained, which are one tensor in transformers', path);
}

function noAdapter(what: string, where: string): UserError {
  return userError({ what, where, got: 'weights adapter', hint: 'export merged weights' });
}

/** What peft finds the base by: a path of this machine, or a hub id with its commit. */
async function namedBase(model: string): Promise<Pick<Adapter, 'baseModel' | 'revision'>> {
  const baseModel = await lastingBase(model);
  const id = baseModel === 'embedded' || (await exists(baseModel)) ? undefined : parseHubModel(baseModel);
  return id === undefined
    ? { baseModel }
    : { baseModel: id.name, ...(id.revision === undefined ? {} : { revision: id.revision }) };
}

function withoutPrefix(name: string, prefix: string): string {
  return name.startsWith(prefix) ? name.slice(prefix.length) : name;
}
