import type { InferenceSession } from 'onnxruntime-node';
import { floats, onnxRuntime, sessionOptions, type RuntimeOptions } from '../compiler/program.js';
import type { TokenizedText } from '../data/batch.js';
import type { PooledTokens } from '../pooling/manifest.js';
import type { Embeddings } from '../pooling/packed-encoder.js';
import { internalError } from '../shared/errors.js';

/** An exported graph in ONNX Runtime. */
export class OnnxEmbedder {
  private constructor(
    private readonly session: InferenceSession,
    private readonly pooled: PooledTokens,
  ) {}

  static async open(path: string, pooled: PooledTokens, options: RuntimeOptions = {}): Promise<OnnxEmbedder> {
    return new OnnxEmbedder(
      await onnxRuntime().InferenceSession.create(path, sessionOptions(options)),
      pooled,
    );
  }

  /** Unit vectors [N, E] of a batch, padded on the given side where the texts are not of one length. */
  async run(texts: readonly TokenizedText[], side: 'left' | 'right'): Promise<Embeddings> {
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
    const { sentence_embedding: embedding } = await this.session.run(feeds, ['sentence_embedding']);
    if (embedding === undefined) throw internalError('the graph gave no sentence_embedding');
    return { rows: texts.length, dimensions: embedding.dims[1] as number, data: floats(embedding) };
  }

  async dispose(): Promise<void> {
    await this.session.release();
  }
}
