import { join } from 'node:path';
import type { RuntimeOptions } from '../compiler/program.js';
import type { ChosenRuntime } from '../compiler/runtime.js';
import type { TokenizedText } from '../data/batch.js';
import { OnnxEmbedder } from '../export/onnx-embedder.js';
import { maskOfGraph } from '../export/pooled-tokens.js';
import type { EmbeddingModel } from '../pooling/embedding-model.js';
import type { EmbedderFile, ExportFormat, Manifest } from '../pooling/manifest.js';
import { createModelEncoder, type Embeddings } from '../pooling/packed-encoder.js';
import { internalError, userError } from '../shared/errors.js';

export interface BackendOptions {
  readonly normalise: boolean;
  /** At most this many texts in one run. */
  readonly batchSize?: number;
  readonly onProgress?: (done: number) => void;
}

/** Runs tokenised texts through a model: embeddings [N, E] in the order of the texts. */
export interface Backend {
  embed(texts: readonly TokenizedText[], options: BackendOptions): Promise<Embeddings>;
  dispose(): Promise<void>;
}

/** The compiled model, texts packed in rows. */
export function packedBackend(model: EmbeddingModel, options: ChosenRuntime): Backend {
  const encoder = createModelEncoder(model, options);
  return {
    embed: (texts, { normalise, onProgress }) =>
      encoder.encodeTokens(texts, { normalise, ...(onProgress === undefined ? {} : { onProgress }) }),
    dispose: () => encoder.dispose(),
  };
}

/** The graph of an exported folder; texts of one length together, so that no padding is multiplied. */
export async function onnxBackend(
  folder: string,
  file: EmbedderFile,
  options: RuntimeOptions,
): Promise<Backend> {
  const embedder = await OnnxEmbedder.open(join(folder, file.path), file.pooled, options);
  return {
    embed: async (texts, { normalise, batchSize, onProgress }) => {
      if (!normalise)
        throw userError({
          what: 'an exported embedder gives unit vectors only',
          where: folder,
          got: 'normalize: false',
        });
      for (const text of texts) checkPoolMask(text, file, folder);
      return embedder.encodeTokens(texts, {
        ...(batchSize === undefined ? {} : { batchSize }),
        ...(onProgress === undefined ? {} : { onProgress }),
      });
    },
    dispose: () => embedder.dispose(),
  };
}

/**
 * The file of a format, float32 or else the first one; the one that takes any prompt, where there is one.
 * @throws UserError where the folder has none
 */
export function chosenFile({ files }: Manifest, folder: string, format?: ExportFormat): EmbedderFile {
  const wanted = format ?? (files.some((file) => file.format === 'float32') ? 'float32' : files[0]?.format);
  const candidates = files.filter((file) => file.format === wanted);
  const file = candidates.find(({ pooled }) => pooled.kind === 'input') ?? candidates[0];
  if (file !== undefined) return file;
  const formats = [...new Set(files.map((each) => each.format))].join(', ');
  throw userError({
    what: 'the embedder folder has no such ONNX file',
    where: folder,
    got: format ?? 'none',
    expected: formats === '' ? 'at least one file' : formats,
  });
}

function checkPoolMask(text: TokenizedText, { pooled, path }: EmbedderFile, folder: string): void {
  const mask = maskOfGraph(pooled, text.ids.length);
  if (mask === undefined || mask.every((value, i) => value === text.pool[i])) return;
  if (pooled.kind === 'afterPrefix') throw internalError(`${path} would pool other tokens than the text's`);
  throw userError({
    what: 'this embedder cannot pool the tokens that the prompt asks for',
    where: join(folder, path),
    expected:
      pooled.kind === 'all'
        ? 'a prompt whose tokens are pooled too'
        : 'a prompt of which the last token is pooled',
    hint: 'use the model that was exported, or export it with that prompt',
  });
}
