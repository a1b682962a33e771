import { join } from 'node:path';
import { userError } from '../errors.js';
import { exists } from '../files.js';
import type { HubId } from './ids.js';
import { hubOptions, type HubOptions } from './options.js';
import { openRepository } from './repository.js';

export { parseHubModel } from './ids.js';

/**
 * What a decoder, an adapter, an embedder folder of ours or one of sentence-transformers is made of. Nothing that could be run is fetched: no
 * Python, no pickles.
 */
const modelFiles: readonly RegExp[] = [
  /^(?:config|tokenizer|tokenizer_config|special_tokens_map|adapter_config|lmvec)\.json$/,
  /^(?:model[\w.-]*|adapter_model|pooling|biases)\.safetensors$/,
  /^model[\w.-]*\.safetensors\.index\.json$/,
  /^previous\/\w+\/adapter_(?:config\.json|model\.safetensors)$/,
  /^onnx\/model[\w.-]*\.onnx(?:_data)?$/,
  // Without them a model would be pooled in another way than its makers do.
  /^(?:modules|sentence_bert_config|config_sentence_transformers)\.json$/,
  /^\d+_[\w-]+\/(?:config\.json|model\.safetensors)$/,
];
/** One of these there must be; BitFit's biases lie beside a base elsewhere, and an embedder folder of ours may be its graphs alone. */
const weights = /^(?:adapter_)?model[^/]*\.safetensors$/;

/**
 * The folder (or GGUF file) of a hub model on this machine, downloaded where it is not there yet.
 * @throws UserError where the hub has no such model or it is not one that can be opened
 */
export async function downloadModel(id: HubId, options: HubOptions = hubOptions()): Promise<string> {
  const repository = await openRepository(id, options);
  const { folder, files } = repository;
  if (id.path !== undefined) {
    const file = files?.find(({ path }) => path === id.path);
    if (file !== undefined) await repository.fetch([file]);
    const local = join(folder, ...id.path.split('/'));
    if (await exists(local)) return local;
    throw userError({
      what: `no file ${id.path}`,
      where: id.name,
      ...some(files?.map(({ path }) => path) ?? []),
    });
  }
  if (files === undefined) return folder;
  const wanted = files.filter(({ path }) => modelFiles.some((name) => name.test(path)));
  // The exported graphs are another form of the weights; only folders of ours are run from them.
  const ours = wanted.some(({ path }) => path === 'lmvec.json');
  const fetched = ours ? wanted : wanted.filter(({ path }) => !path.startsWith('onnx/'));
  const needed = ours
    ? /^(?:(?:adapter_)?model[^/]*|biases)\.safetensors$|^onnx\/model[^/]*\.onnx$/
    : weights;
  if (!fetched.some(({ path }) => needed.test(path))) {
    const ggufs = files.map(({ path }) => path).filter((path) => path.endsWith('.gguf'));
    throw userError({
      what: ggufs.length > 0 ? 'which of the GGUF files?' : 'this model has no safetensors',
      where: id.name,
      ...some(ggufs.length > 0 ? ggufs : files.map(({ path }) => path)),
      ...(ggufs[0] === undefined ? {} : { hint: `name it: hf://${id.name}/${ggufs[0]}` }),
    });
  }
  await repository.fetch(fetched);
  return folder;
}

function some(paths: readonly string[]): { readonly got?: string } {
  return paths.length === 0 ? {} : { got: paths.slice(0, 12).join(', ') };
}
