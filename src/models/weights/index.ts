import { userError } from '../../shared/errors.js';
import { statOrUserError } from '../../shared/files.js';
import { openRangeFile } from './file-range.js';
import { openGgufDecoder } from './gguf-families.js';
import { openHuggingFaceFolder } from './hf-folder.js';
import type { DecoderSource } from './types.js';

export { readAdapter, writeAdapter, type Adapter } from './peft.js';
export { openSafetensors, type SafetensorsFile } from './safetensors.js';
export { writeSafetensors, type TensorToWrite } from './safetensors-writer.js';
export type { DecoderSource, TensorInfo, WeightStore } from './types.js';

/** Opens a decoder: a Hugging Face folder or a GGUF file, told by its first bytes. @throws UserError, one sentence, where it is neither. */
export async function openDecoder(path: string): Promise<DecoderSource> {
  const stats = await statOrUserError(path, 'model');
  if (stats.isDirectory()) return openHuggingFaceFolder(path);
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
  return openGgufDecoder(path);
}
