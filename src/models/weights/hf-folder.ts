import { join } from 'node:path';
import { shown, userError } from '../../shared/errors.js';
import { exists } from '../../shared/files.js';
import { checkpointNames } from '../families/index.js';
import { textPart } from '../families/text-part.js';
import { expertStore } from './expert-names.js';
import { readJsonFile } from './json-file.js';
import { refuseLinksOut } from './links.js';
import { canonicalNames, renamedStore } from './names.js';
import { unwrappedConfig, unwrappedWeights } from './nv-embed.js';
import { openSafetensors } from './safetensors.js';
import { isJsonObject, type DecoderSource, type JsonObject, type WeightStore } from './types.js';

/**
 * Opens a Hugging Face model folder: config.json, model.safetensors or its shards, tokenizer.json, tokenizer_config.json. The tokenizer is
 * that of the first of the folders `tokenizers` that has one, else its own.
 * @throws UserError, one sentence, for whatever is missing or broken.
 */
export async function openHuggingFaceFolder(
  folder: string,
  { tokenizers = [] }: { readonly tokenizers?: readonly string[] } = {},
): Promise<DecoderSource> {
  await refuseLinksOut(folder);
  const described = await readJsonFile(join(folder, 'config.json'));
  if (described === undefined) throw missingConfig(folder);
  const { config, nameOf } = textPart(unwrappedConfig(described));
  let tokenizer: DecoderSource['tokenizer'] | undefined;
  for (const other of tokenizers)
    if (tokenizer === undefined && (await exists(join(other, 'tokenizer.json'))))
      tokenizer = await readTokenizer(other);
  tokenizer ??= await readTokenizer(folder);
  const store = unwrappedWeights(await openWeights(folder));
  try {
    const checkpoint = checkpointNames(config);
    const names = canonicalNames(store.names, { ...checkpoint, nameOf, where: folder });
    const named = renamedStore(store, names);
    const weights = checkpoint.experts === undefined ? named : expertStore(named, checkpoint.experts);
    return { path: folder, format: 'folder', config, weights, tokenizer };
  } catch (error) {
    await store.close();
    throw error;
  }
}

function missingConfig(folder: string): Error {
  return userError({
    what: 'not a model folder',
    where: folder,
    got: 'no config.json',
    expected: 'config.json, model.safetensors and tokenizer.json',
  });
}

/** tokenizer.json and tokenizer_config.json, with special_tokens_map.json filled in where the latter lacks a token; no chat template. */
export async function readTokenizer(folder: string): Promise<DecoderSource['tokenizer']> {
  const json = await readJsonFile(join(folder, 'tokenizer.json'));
  if (json === undefined) {
    const sentencePiece = await exists(join(folder, 'tokenizer.model'));
    throw userError({
      what: 'tokenizer.json is missing',
      where: folder,
      ...(sentencePiece
        ? {
            got: 'only tokenizer.model',
            hint: 'save the tokenizer once with transformers to get tokenizer.json',
          }
        : {}),
    });
  }
  const config = await readJsonFile(join(folder, 'tokenizer_config.json'));
  const specials = await readJsonFile(join(folder, 'special_tokens_map.json'));
  const merged: Record<string, unknown> = { ...specials, ...config };
  for (const [key, value] of Object.entries(specials ?? {})) merged[key] ??= value;
  delete merged['chat_template'];
  return { json, config: merged };
}

export async function openWeights(folder: string): Promise<WeightStore> {
  const single = join(folder, 'model.safetensors');
  if (await exists(single)) return openSafetensors(single);
  const indexPath = join(folder, 'model.safetensors.index.json');
  const index = await readJsonFile(indexPath);
  if (index !== undefined) return openShards(folder, indexPath, index);
  const pickled = await exists(join(folder, 'pytorch_model.bin'));
  throw userError({
    what: 'no weights found',
    where: folder,
    got: pickled ? 'pytorch_model.bin, which is not opened because pickles can run code' : 'neither',
    expected: 'model.safetensors or model.safetensors.index.json',
    ...(pickled ? { hint: 'save it once with transformers to get model.safetensors' } : {}),
  });
}

async function openShards(folder: string, indexPath: string, index: JsonObject): Promise<WeightStore> {
  const map = index['weight_map'];
  if (!isJsonObject(map))
    throw userError({ what: 'broken index', where: indexPath, expected: 'an object weight_map' });
  const shardOf = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || !/^[^/\\:\0]+\.safetensors$/.test(shard) || shard.startsWith('.')) {
      throw userError({
        what: `shard of ${name} refused`,
        where: indexPath,
        got: shown(shard),
        expected: 'the name of a .safetensors file of the same folder',
      });
    }
    shardOf.set(name, shard);
  }
  const shards = new Map<string, WeightStore>();
  const close = async (): Promise<void> => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    for (const shard of new Set(shardOf.values()))
      shards.set(shard, await openSafetensors(join(folder, shard)));
    const storeOf = (name: string): WeightStore | undefined => shards.get(shardOf.get(name) ?? '');
    for (const [name, shard] of shardOf) {
      if (storeOf(name)?.info(name) === undefined) {
        throw userError({
          what: `tensor ${name} is missing`,
          where: join(folder, shard),
          expected: 'it there, says the index',
        });
      }
    }
    return {
      names: [...shardOf.keys()],
      info: (name) => storeOf(name)?.info(name),
      read: async (name) => {
        const store = storeOf(name);
        if (store === undefined) throw userError({ what: `tensor ${name} is missing`, where: indexPath });
        return store.read(name);
      },
      readPacked: async (name) => storeOf(name)?.readPacked?.(name),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
