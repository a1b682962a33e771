import { join } from 'node:path';
import { shown, userError } from '../../shared/errors.js';
import { exists } from '../../shared/files.js';
import { parseHubModel } from '../../shared/hub/ids.js';
import type { MatrixLayout } from '../decoder-config.js';
import { mergeLora } from '../lora.js';
import { readJsonFile } from './json-file.js';
import { refuseLinksOut } from './links.js';
import { readAdapter, type Adapter, type AdapterBase } from './peft.js';
import type { MergedAdapter, WeightStore } from './types.js';

/** Whether a folder holds a PEFT adapter and no weights of its own. LLM2Vec's have a config.json beside it. */
export async function isAdapterFolder(folder: string): Promise<boolean> {
  if (!(await exists(join(folder, 'adapter_config.json')))) return false;
  for (const name of ['model.safetensors', 'model.safetensors.index.json'])
    if (await exists(join(folder, name))) return false;
  return true;
}

/** The base that an adapter folder names, with its revision where that is a hub id; undefined where it names none. */
export async function baseOfAdapter(folder: string): Promise<string | undefined> {
  const config = await readJsonFile(join(folder, 'adapter_config.json'));
  const { base_model_name_or_path: base, revision } = config ?? {};
  if (typeof base !== 'string' || base === '') return undefined;
  const isId = typeof revision === 'string' && revision !== '' && !(await exists(base));
  return isId && parseHubModel(base)?.revision === undefined ? `${base}@${revision}` : base;
}

/** The adapters of a folder in the order in which they are merged: those of earlier stages of a run (`previous/`), then its own. */
export async function adaptersIn(folder: string): Promise<readonly string[]> {
  const previous = (await readJsonFile(join(folder, 'lmvec.json')))?.['previous'] ?? [];
  const names: readonly unknown[] = Array.isArray(previous) ? previous : [previous];
  const stages = names.map((name) => {
    // They become parts of paths.
    if (typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_]*$/.test(name)) return name;
    throw userError({
      what: 'broken description of a model',
      where: join(folder, 'lmvec.json'),
      got: `previous: ${shown(name)}`,
    });
  });
  return [...(await previousFolders(folder, stages)), folder];
}

/** Where the adapters of earlier stages lie in a folder. @throws UserError where that is a link out of it */
export async function previousFolders(folder: string, stages: readonly string[]): Promise<string[]> {
  const paths = stages.map((stage) => join(folder, 'previous', stage));
  for (const path of paths) if (await exists(path)) await refuseLinksOut(path, folder);
  return paths;
}

/**
 * A base's weights with adapters merged into them one after the other (as peft's merge_and_unload does), each tensor when it is read.
 * @throws UserError where an adapter does not fit the base
 */
export async function withAdapters(
  base: WeightStore,
  folders: readonly string[],
  fits: AdapterBase,
): Promise<WeightStore> {
  const adapters: Adapter[] = [];
  const { layout } = fits;
  for (const folder of folders) {
    const adapter = await readAdapter(folder, fits);
    checkFits(adapter, base, { folder, layout });
    adapters.push(adapter);
  }
  const mergedInto = (name: string): MergedAdapter[] => {
    const stem = name.replace(/\.weight$/, '');
    return adapters.flatMap(({ tensors, rank, alpha }) => {
      const a = tensors.get(`${stem}.lora_A.weight`);
      const b = tensors.get(`${stem}.lora_B.weight`);
      return a === undefined || b === undefined ? [] : [{ a, b, rank, scale: alpha / rank, layout }];
    });
  };
  return {
    ...base,
    read: async (name) => {
      const weight = await base.read(name);
      for (const adapter of mergedInto(name)) mergeLora(weight, adapter.a, adapter.b, adapter);
      return weight;
    },
    readPacked: async (name) => {
      const packed = await base.readPacked?.(name);
      return packed && { ...packed, merged: [...packed.merged, ...mergedInto(name)] };
    },
  };
}

function checkFits(
  { tensors, rank }: Adapter,
  base: WeightStore,
  { folder, layout }: { readonly folder: string; readonly layout: MatrixLayout },
): void {
  for (const [name, a] of tensors) {
    if (!name.endsWith('.lora_A.weight')) continue;
    const stem = name.slice(0, -'.lora_A.weight'.length);
    const shape = base.info(`${stem}.weight`)?.shape;
    const ours = [(tensors.get(`${stem}.lora_B.weight`)?.length ?? 0) / rank, a.length / rank];
    if (layout === 'inOut') ours.reverse();
    if (shape?.join() === ours.join()) continue;
    throw userError({
      what: `the adapter of ${stem} does not fit its base`,
      where: folder,
      got: `[${ours.join(', ')}]`,
      expected: shape === undefined ? 'a matrix that the base has' : `[${shape.join(', ')}]`,
    });
  }
}
