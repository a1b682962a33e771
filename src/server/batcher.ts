import type { TokenizedText } from '../data/batch.js';
import type { Embeddings } from '../pooling/packed-encoder.js';

export interface BatcherOptions {
  /** Embeddings [N, E] of tokenised texts, in their order. */
  readonly embed: (texts: readonly TokenizedText[]) => Promise<Embeddings>;
  /** Tokens of one run of the model; a longer text runs alone. */
  readonly batchTokens: number;
  /** Texts that may wait; more are refused. */
  readonly queueTexts: number;
  readonly onBatch?: (batch: { readonly texts: number; readonly tokens: number }) => void;
}

/** More texts wait than may. */
export class OverloadedError extends Error {
  override readonly name = 'OverloadedError';
}

interface Request {
  readonly rows: Float32Array[];
  missing: number;
  readonly done: (rows: Float32Array[]) => void;
  readonly failed: (error: unknown) => void;
}

interface Waiting {
  readonly text: TokenizedText;
  readonly request: Request;
  readonly index: number;
}

/**
 * Texts of many requests through one model: those that wait while a batch runs make up the next one, in the order in which they came, up to a
 * budget of tokens. One batch runs at a time, as the model uses all threads.
 */
export class Batcher {
  private queue: Waiting[] = [];
  private running = false;

  constructor(private readonly options: BatcherOptions) {}

  /** Texts that wait. */
  get waiting(): number {
    return this.queue.length;
  }

  /**
   * One row [E] a text.
   * @throws OverloadedError where too many texts wait; the signal's reason once the asker is gone, whose texts then leave the queue
   */
  embed(texts: readonly TokenizedText[], signal?: AbortSignal): Promise<Float32Array[]> {
    if (texts.length === 0) return Promise.resolve([]);
    if (this.queue.length > 0 && this.queue.length + texts.length > this.options.queueTexts)
      return Promise.reject(new OverloadedError(`${this.queue.length} texts wait already`));
    return new Promise((resolve, reject) => {
      const request: Request = {
        rows: new Array<Float32Array>(texts.length),
        missing: texts.length,
        done: resolve,
        failed: reject,
      };
      this.queue.push(...texts.map((text, index) => ({ text, request, index })));
      signal?.addEventListener('abort', () => this.drop(request, signal.reason), { once: true });
      if (this.running) return;
      this.running = true;
      void this.run();
    });
  }

  private drop(request: Request, reason: unknown): void {
    this.queue = this.queue.filter((waiting) => waiting.request !== request);
    request.failed(reason);
  }

  private async run(): Promise<void> {
    // Requests that are being read at this moment come along.
    await new Promise(setImmediate);
    while (this.queue.length > 0) {
      const batch = this.next();
      try {
        const { data, dimensions } = await this.options.embed(batch.map(({ text }) => text));
        for (const [row, { request, index }] of batch.entries()) {
          request.rows[index] = data.slice(row * dimensions, (row + 1) * dimensions);
          if (--request.missing === 0) request.done(request.rows);
        }
      } catch (error) {
        for (const request of new Set(batch.map((waiting) => waiting.request))) this.drop(request, error);
      }
    }
    this.running = false;
  }

  /** The first texts of the queue that fit the budget together. */
  private next(): Waiting[] {
    let tokens = 0;
    let count = 0;
    for (const { text } of this.queue) {
      if (count > 0 && tokens + text.ids.length > this.options.batchTokens) break;
      tokens += text.ids.length;
      count += 1;
    }
    const batch = this.queue.splice(0, count);
    this.options.onBatch?.({ texts: count, tokens });
    return batch;
  }
}
