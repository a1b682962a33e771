import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { internalError } from '../shared/errors.js';
import { writeFileAtomic } from '../shared/files.js';
import { configText } from './config-text.js';
import { writeSafetensors, type TensorToWrite } from './weights/safetensors-writer.js';
import type { DecoderSource } from './weights/types.js';

const dtypes = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/**
 * Writes a decoder as a Hugging Face folder (config.json, model.safetensors, tokenizer.json, tokenizer_config.json), one tensor in memory
 * at a time. Other files of the folder stay. @throws UserError where a weight does not fit the type.
 */
export async function writeDecoder(
  source: DecoderSource,
  folder: string,
  storedType: TensorToWrite['storedType'],
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const tensors = source.weights.names.map((name): TensorToWrite => {
    const info = source.weights.info(name);
    if (info === undefined) throw internalError(`no tensor ${name} in ${source.path}`);
    return { name, shape: info.shape, storedType, data: () => source.weights.read(name) };
  });
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  // transformers 5 reads `torch_dtype` too, 4 knows no other word.
  const config: Record<string, unknown> = { ...source.config, torch_dtype: dtypes[storedType] };
  delete config['dtype'];
  const files: Readonly<Record<string, string>> = {
    'config.json': configText(config),
    'tokenizer.json': JSON.stringify(source.tokenizer.json),
    'tokenizer_config.json': `${JSON.stringify(source.tokenizer.config, null, 2)}\n`,
  };
  for (const [name, text] of Object.entries(files)) await writeFileAtomic(join(folder, name), text);
}
