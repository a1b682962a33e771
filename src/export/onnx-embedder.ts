import type { InferenceSession } from 'onnxruntime-node';
import { openGraphFile, type GraphFile } from '../compiler/graph-file.js';
import { floats, onnxRuntime, type RuntimeOptions } from '../compiler/program.js';
import type { TokenizedText } from '../data/batch.js';
import type { PooledTokens } from '../pooling/manifest.js';
import type { Embeddings } from '../pooling/packed-encoder.js';
import { userError } from '../shared/errors.js';

/** Tokens of one run. */
const RUN_TOKENS = 4096;

/** An exported graph in ONNX Runtime. */
export class OnnxEmbedder {
  private constructor(
    private readonly path: string,
    private readonly graph: GraphFile,
    private readonly pooled: PooledTokens,
  ) {}

  static async open(path: string, pooled: PooledTokens, options: RuntimeOptions = {}): Promise<OnnxEmbedder> {
    return new OnnxEmbedder(path, await openGraphFile(path, options), pooled);
  }

  /** Unit vectors [N, E] of a batch, padded on the given side where the texts are not of one length. */
  async run(texts: readonly TokenizedText[], side: 'left' | 'right'): Promise<Embeddings> {
    const embedding = await this.value('sentence_embedding', texts, side);
    const [rows, dimensions = 0, ...more] = embedding.dims;
    if (rows !== texts.length || dimensions === 0 || more.length > 0 || embedding.type !== 'float32')
      throw userError({
        what: 'the graph gives no embeddings',
        where: this.path,
        got: `${embedding.type} [${embedding.dims.join(', ')}]`,
        expected: `float32 [${texts.length}, dimensions]`,
      });
    return { rows, dimensions, data: floats(embedding) };
  }

  /**
   * Unit vectors [N, E] in the order of the texts, at most `batchSize` of them in one run; texts of one length together, so that no padding
   * is multiplied.
   */
  async encodeTokens(
    texts: readonly TokenizedText[],
    {
      batchSize,
      onProgress,
    }: { readonly batchSize?: number; readonly onProgress?: (done: number) => void } = {},
  ): Promise<Embeddings> {
    let data = new Float32Array(0);
    let dimensions = 0;
    let done = 0;
    for (const group of groupsOfLength(texts, batchSize)) {
      const vectors = await this.run(
        group.map((index) => texts[index] as TokenizedText),
        'right',
      );
      ({ dimensions } = vectors);
      if (done === 0) data = new Float32Array(texts.length * dimensions);
      for (const [row, index] of group.entries())
        data.set(vectors.data.subarray(row * dimensions, (row + 1) * dimensions), index * dimensions);
      done += group.length;
      onProgress?.(done);
    }
    return { rows: texts.length, dimensions, data };
  }

  /** One output of the graph. */
  async value(
    name: string,
    texts: readonly TokenizedText[],
    side: 'left' | 'right',
  ): Promise<InferenceSession.OnnxValueMapType[string]> {
    const { Tensor } = onnxRuntime();
    const tokens = Math.max(...texts.map(({ ids }) => ids.length));
    const filled = (valueOf: (text: TokenizedText, i: number) => number) => {
      const data = new BigInt64Array(texts.length * tokens);
      for (const [row, text] of texts.entries()) {
        const start = row * tokens + (side === 'left' ? tokens - text.ids.length : 0);
        for (let i = 0; i < text.ids.length; i++) data[start + i] = BigInt(valueOf(text, i));
      }
      return new Tensor('int64', data, [texts.length, tokens]);
    };
    const feeds: Record<string, InferenceSession.OnnxValueMapType[string]> = {
      input_ids: filled(({ ids }, i) => ids[i] as number),
      attention_mask: filled(() => 1),
    };
    if (this.pooled.kind === 'input') feeds['pool_mask'] = filled(({ pool }, i) => pool[i] as number);
    const value = (await this.graph.run(feeds, [name]))[name];
    if (value === undefined)
      throw userError({ what: 'the graph lacks an output', where: this.path, expected: name });
    return value;
  }

  async dispose(): Promise<void> {
    await this.graph.release();
  }
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
