import { truncated, type Embedder } from '../embedder/embedder.js';
import { RequestError } from './answers.js';
import { Batcher } from './batcher.js';
import { ServerMetrics } from './metrics.js';

export interface ServiceOptions {
  readonly embedder: Pick<Embedder, 'tokenize' | 'encodeTokens' | 'recipe' | 'file'>;
  /** What clients call the model. */
  readonly name: string;
  /** Tokens of one run of the model. */
  readonly batchTokens: number;
  /** Texts that may wait. */
  readonly queueTexts: number;
  /** Texts of one request. */
  readonly requestTexts: number;
  /** Whether a text that is too long loses its end, where a request does not say; it is refused otherwise. */
  readonly truncate: boolean;
}

/** What a client asks for. */
export interface Asked {
  readonly texts: readonly string[];
  readonly promptName?: string | undefined;
  readonly dimensions?: number | undefined;
  readonly truncate?: boolean | undefined;
  /** The client is gone. */
  readonly signal: AbortSignal;
}

/** What all routes share: texts to unit vectors, many requests through one model. */
export class EmbeddingService {
  readonly metrics: ServerMetrics;
  private readonly batcher: Batcher;

  constructor(readonly options: ServiceOptions) {
    const { embedder, batchTokens, queueTexts } = options;
    this.batcher = new Batcher({
      embed: (texts) => embedder.encodeTokens(texts),
      batchTokens,
      queueTexts,
      onBatch: (batch) => this.metrics.batch(batch),
    });
    this.metrics = new ServerMetrics(() => this.batcher.waiting);
  }

  /** Unit vectors in the order of the texts, and how many tokens were read. @throws RequestError, UserError, OverloadedError */
  async embed(asked: Asked): Promise<{ readonly rows: readonly Float32Array[]; readonly tokens: number }> {
    const { texts, promptName, dimensions, truncate = this.options.truncate, signal } = asked;
    const { requestTexts, embedder } = this.options;
    if (texts.length === 0) throw new RequestError('no text: expected at least one', 'tokenizer');
    if (texts.length > requestTexts)
      throw new RequestError(`${texts.length} texts: expected at most ${requestTexts}`, 'validation');
    const tokens = embedder.tokenize(texts, {
      ...(promptName === undefined ? {} : { promptName }),
      tooLong: truncate ? 'cut' : 'refuse',
      where: (index) => (texts.length === 1 ? 'input' : `input ${index}`),
    });
    const rows = await this.batcher.embed(tokens, signal);
    return {
      rows: dimensions === undefined ? rows : rows.map((row) => firstOf(row, dimensions)),
      tokens: tokens.reduce((sum, { ids }) => sum + ids.length, 0),
    };
  }
}

/** The first numbers of a row, at unit length again. */
function firstOf(data: Float32Array, dimensions: number): Float32Array {
  return truncated({ rows: 1, dimensions: data.length, data }, dimensions, true).data;
}
