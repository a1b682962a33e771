import { userError } from '../../shared/errors.js';
import { statOrUserError } from '../../shared/files.js';
import { checkpointNames, parseDecoderConfig } from '../families/index.js';
import { matrixLayout } from '../lora.js';
import { withAdapters } from './adapter-chain.js';
import { openRangeFile } from './file-range.js';
import { openGgufDecoder } from './gguf-families.js';
import { openHuggingFaceFolder } from './hf-folder.js';
import { locateModel } from './locate.js';
import type { DecoderSource } from './types.js';

export { lastingBase, lastingModel, localModel, locateModel, type LocatedModel } from './locate.js';
export { joinAdapters } from './join-adapters.js';
export { readAdapter, writeAdapter, type Adapter } from './peft.js';
export { openSafetensors, type SafetensorsFile } from './safetensors.js';
export { writeSafetensors, type TensorToWrite } from './safetensors-writer.js';
export type { DecoderSource, TensorInfo, WeightStore } from './types.js';

/**
 * Opens a decoder: a Hugging Face folder, a GGUF file (told by its first bytes), a hub id, a PEFT adapter on the base that it names, or
 * `base + adapter + adapter`.
 * @throws UserError, one sentence, where it is none of them
 */
export async function openDecoder(model: string): Promise<DecoderSource> {
  const { base, adapters } = await locateModel(model);
  const stats = await statOrUserError(base, 'model');
  if (!stats.isDirectory()) await checkGguf(base);
  const source = stats.isDirectory()
    ? await openHuggingFaceFolder(base, { tokenizers: [...adapters].reverse() })
    : await openGgufDecoder(base);
  if (adapters.length === 0) return source;
  try {
    const fits = {
      names: checkpointNames(source.config),
      layout: matrixLayout(parseDecoderConfig(source.config, base)),
    };
    return { ...source, path: model, weights: await withAdapters(source.weights, adapters, fits) };
  } catch (error) {
    await source.weights.close();
    throw error;
  }
}

async function checkGguf(path: string): Promise<void> {
  const file = await openRangeFile(path, 'model');
  try {
    const start = Buffer.from(await file.read(0, Math.min(4, file.size))).toString('latin1');
    if (start !== 'GGUF' && !path.endsWith('.gguf')) {
      throw userError({
        what: 'not a model',
        where: path,
        got: path.endsWith('.safetensors') ? 'a safetensors file alone' : 'a file of another kind',
        expected: 'a Hugging Face folder or a .gguf file',
        ...(path.endsWith('.safetensors')
          ? { hint: 'give its folder, with config.json and tokenizer.json' }
          : {}),
      });
    }
  } finally {
    await file.close();
  }
}
