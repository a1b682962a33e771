import { join } from 'node:path';
import type { TokenizedText } from '../data/batch.js';
import { OnnxEmbedder } from '../export/onnx-embedder.js';
import { maskOfGraph } from '../export/pooled-tokens.js';
import type { EmbeddingModel } from '../pooling/embedding-model.js';
import type { EmbedderFile, Manifest } from '../pooling/manifest.js';
import { createModelEncoder, type Embeddings } from '../pooling/packed-encoder.js';
import { internalError, userError } from '../shared/errors.js';

/** Tokens of one run of an exported graph. */
const RUN_TOKENS = 4096;

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
export function packedBackend(model: EmbeddingModel, options: { readonly threads?: number }): Backend {
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
  manifest: Manifest,
  options: { readonly threads?: number },
): Promise<Backend> {
  const file = preferredFile(manifest, folder);
  const embedder = await OnnxEmbedder.open(join(folder, file.path), file.pooled, options);
  return {
    embed: async (texts, { normalise, batchSize, onProgress }) => {
      if (!normalise)
        throw userError({
          what: 'an exported embedder gives unit vectors only',
          where: folder,
          got: 'normalize: false',
        });
      let result: Float32Array | undefined;
      let dimensions = 0;
      let done = 0;
      for (const group of groupsOfLength(texts, batchSize)) {
        const members = group.map((index) => texts[index] as TokenizedText);
        for (const text of members) checkPoolMask(text, file, folder);
        const vectors = await embedder.run(members, 'right');
        ({ dimensions } = vectors);
        result ??= new Float32Array(texts.length * dimensions);
        for (const [row, index] of group.entries())
          result.set(vectors.data.subarray(row * dimensions, (row + 1) * dimensions), index * dimensions);
        done += group.length;
        onProgress?.(done);
      }
      return { rows: texts.length, dimensions, data: result ?? new Float32Array(0) };
    },
    dispose: () => embedder.dispose(),
  };
}

/** The file that takes any prompt, where there is one. */
function preferredFile({ files }: Manifest, folder: string): EmbedderFile {
  const file = files.find(({ pooled }) => pooled.kind === 'input') ?? files[0];
  if (file === undefined) throw userError({ what: 'the embedder folder names no ONNX file', where: folder });
  return file;
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

/** Indices of texts of one length, at most `RUN_TOKENS` tokens or `batchSize` texts together; long texts first. */
function groupsOfLength(texts: readonly TokenizedText[], batchSize?: number): number[][] {
  const byLength = new Map<number, number[]>();
  for (const [index, { ids }] of texts.entries()) {
    const group = byLength.get(ids.length);
    if (group === undefined) byLength.set(ids.length, [index]);
    else group.push(index);
  }
  return [...byLength]
    .sort(([a], [b]) => b - a)
    .flatMap(([length, indices]) => {
      const size = batchSize ?? Math.max(1, Math.floor(RUN_TOKENS / length));
      return Array.from({ length: Math.ceil(indices.length / size) }, (_, i) =>
        indices.slice(i * size, (i + 1) * size),
      );
    });
}
