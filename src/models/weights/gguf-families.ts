import { nearest, userError } from '../../shared/errors.js';
import { denseLayouts } from './gguf-decoders.js';
import { readLayout, type Layout } from './gguf-layout.js';
import { metadataReader, type MetadataReader } from './gguf-metadata.js';
import { mixtralLayout, mixtureLayouts } from './gguf-mixtures.js';
import { tokenizerFromGguf } from './gguf-tokenizer.js';
import { openGguf } from './gguf.js';
import type { DecoderSource } from './types.js';

/** Architectures by `general.architecture`. A new one is a layout in a list and the family's `gguf`. */
export const ggufLayouts: ReadonlyMap<string, Layout> = new Map(
  [...denseLayouts, ...mixtureLayouts].map((layout) => [layout.arch, layout]),
);

/** Opens a GGUF model. @throws UserError, one sentence, for an unknown architecture and whatever is missing or broken. */
export async function openGgufDecoder(path: string): Promise<DecoderSource> {
  const file = await openGguf(path);
  try {
    const metadata = metadataReader(file);
    const architecture = metadata.required('general.architecture', metadata.text('general.architecture'));
    const layout = layoutOf(architecture, metadata);
    if (layout === undefined) {
      const near = nearest(architecture, [...ggufLayouts.keys()]);
      throw userError({
        what: 'this architecture cannot be read from GGUF',
        where: path,
        got: architecture,
        expected: [...ggufLayouts.keys()].join(', '),
        ...(near === undefined ? {} : { hint: `nearest: ${near}` }),
      });
    }
    const { config, weights } = await readLayout(file, layout);
    const tokenizer = tokenizerFromGguf(file, Number(config['vocab_size']));
    return { path, format: 'gguf', config, weights, tokenizer };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function layoutOf(architecture: string, metadata: MetadataReader): Layout | undefined {
  const isMixtral = architecture === 'llama' && (metadata.integer('llama.expert_count') ?? 0) > 0;
  return isMixtral ? mixtralLayout : ggufLayouts.get(architecture);
}
