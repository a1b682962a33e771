import { join, resolve } from 'node:path';
import { userError } from '../../shared/errors.js';
import { exists } from '../../shared/files.js';
import { downloadModel, parseHubModel } from '../../shared/hub/model.js';
import { assetPath } from '../../shared/package.js';
import { adaptersIn, baseOfAdapter, isAdapterFolder } from './adapter-chain.js';

/** Between a base and the adapters that are put on it, one after the other: `base + mntp + simcse`. */
const plus = ' + ';
/** An adapter may be made for another adapter's model, and so on. */
const longestChain = 8;

/** A model on this machine: the base, and adapter folders in the order in which they are merged. */
export interface LocatedModel {
  /** A folder or a GGUF file. */
  readonly base: string;
  readonly adapters: readonly string[];
}

/** The parts of `base + adapter + adapter`; a path may hold a plus itself. */
async function partsOf(model: string): Promise<string[]> {
  return model.includes(plus) && !(await exists(model))
    ? model.split(plus).map((part) => part.trim())
    : [model];
}

/**
 * What a model is called on this machine: `embedded` and paths as they are, hub ids (`org/name`, `org/name@revision`, with `hf://` or not)
 * downloaded, where they are not there yet. Parts are joined as before.
 * @throws UserError where there is no such path and no such id
 */
export async function localModel(model: string): Promise<string> {
  const parts: string[] = [];
  for (const part of await partsOf(model)) parts.push(part === 'embedded' ? part : await localPart(part));
  return parts.join(plus);
}

/** As `localModel`, so that the model is found again from another folder and later: absolute paths, hub ids with their commit. */
export async function lastingModel(model: string): Promise<string> {
  const parts: string[] = [];
  for (const part of await partsOf(model)) parts.push(await lastingPart(part));
  return parts.join(plus);
}

/** The base of a model without the adapters on it, called as `lastingModel` calls it. */
export async function lastingBase(model: string): Promise<string> {
  let [name = ''] = await partsOf(model);
  for (let length = 0; length < longestChain && name !== 'embedded'; length++) {
    const folder = await localPart(name);
    if (!(await isAdapterFolder(folder))) break;
    name = (await baseOfAdapter(folder)) ?? name;
  }
  return lastingPart(name);
}

async function lastingPart(part: string): Promise<string> {
  if (part === 'embedded') return part;
  if (await exists(part)) return resolve(part);
  const id = parseHubModel(part);
  const path = await localPart(part);
  return id === undefined
    ? resolve(path)
    : `${id.name}@${path.split(/[\\/]snapshots[\\/]/).at(-1) ?? 'main'}`;
}

async function localPart(part: string): Promise<string> {
  if (await exists(part)) return part;
  const id = parseHubModel(part);
  // A path that is mistyped is no hub id: its first folder is there.
  if (id !== undefined && (part.startsWith('hf://') || !(await exists(part.split('/')[0] ?? ''))))
    return downloadModel(id);
  throw userError({
    what: 'model not found',
    where: part,
    expected: 'an existing file or folder, or a hub id',
  });
}

/** The base and all adapters of a model, those that adapter folders name themselves included. @throws UserError */
export async function locateModel(model: string): Promise<LocatedModel> {
  const [first = '', ...rest] = await partsOf(await localModel(model));
  const adapters: string[] = [];
  for (const folder of rest) {
    if (!(await isAdapterFolder(folder)))
      throw userError({
        what: 'not an adapter folder',
        where: folder,
        expected: 'adapter_config.json and adapter_model.safetensors',
      });
    adapters.push(...(await adaptersIn(folder)));
  }
  let base = first === 'embedded' ? assetPath('tiny') : first;
  for (let length = 0; await isAdapterFolder(base); length++) {
    if (length === longestChain) throw userError({ what: 'adapters on adapters without end', where: first });
    adapters.unshift(...(await adaptersIn(base)));
    base = await baseFolder(base);
  }
  return { base, adapters };
}

async function baseFolder(folder: string): Promise<string> {
  const where = join(folder, 'adapter_config.json');
  const name = await baseOfAdapter(folder);
  const hint = `name the base: "BASE + ${folder}"`;
  if (name === undefined)
    throw userError({ what: 'the adapter does not say what its base model is', where, hint });
  if (name === 'embedded') return assetPath('tiny');
  try {
    return await localPart(name);
  } catch (error) {
    const got = error instanceof Error ? error.message : String(error);
    throw userError({ what: 'the base model of the adapter is not found', where, got, hint });
  }
}
