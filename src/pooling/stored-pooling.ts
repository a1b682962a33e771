import { join, resolve } from 'node:path';
import { openWeights } from '../models/weights/hf-folder.js';
import { openSafetensors, type WeightStore } from '../models/weights/index.js';
import { userError } from '../shared/errors.js';
import { exists } from '../shared/files.js';
import { openReleasedHead } from './released-modules.js';

/**
 * Those of a pooling's parameters that lie beside a model: in pooling.safetensors, in the dense layer of sentence-transformers, or among the
 * decoder's weights as in NV-Embed's release. Empty where there are none.
 * @throws UserError where one has another shape
 */
export async function storedPooling(
  model: string,
  shapes: ReadonlyMap<string, readonly number[]>,
): Promise<Map<string, Float32Array>> {
  const parameters = new Map<string, Float32Array>();
  const store = model === 'embedded' ? undefined : await openStore(model, shapes);
  if (store === undefined) return parameters;
  try {
    for (const [name, shape] of shapes) {
      const info = store.info(name);
      if (info === undefined) continue;
      if (info.shape.join() !== shape.join())
        throw userError({
          what: `pooling parameter ${name} does not fit`,
          where: model,
          got: `[${info.shape.join(', ')}]`,
          expected: `[${shape.join(', ')}]`,
        });
      parameters.set(name, await store.read(name));
    }
  } finally {
    await store.close();
  }
  return parameters;
}

async function openStore(
  model: string,
  shapes: ReadonlyMap<string, unknown>,
): Promise<WeightStore | undefined> {
  const own = join(resolve(model), 'pooling.safetensors');
  if (await exists(own)) return openSafetensors(own);
  return (await openReleasedHead(model)) ?? (await openReleased(model, shapes));
}

/** Weights of a folder whose decoder and pooling lie in one file, as NV-Embed's release has them. */
async function openReleased(
  folder: string,
  shapes: ReadonlyMap<string, unknown>,
): Promise<WeightStore | undefined> {
  const files = ['model.safetensors', 'model.safetensors.index.json'];
  const found = await Promise.all(files.map((name) => exists(join(folder, name))));
  if (!found.includes(true)) return undefined;
  const store = await openWeights(folder);
  if (store.names.some((name) => shapes.has(name))) return store;
  await store.close();
  return undefined;
}
