import type { DropoutContext } from '../models/block-masks.js';
import type { ForwardOptions, Runner } from '../models/runner.js';
import type { GradientSink } from '../models/gradient-sink.js';
import { scaledBackward } from './loss-scale.js';
import type { PooledPass } from './objectives/embedding-head.js';
import type { ChunkedLoss, ObjectiveBatch, TextChunk } from './objectives/objective.js';

export interface GradCacheOptions<B extends ObjectiveBatch> {
  readonly runner: Runner;
  /** How the whole batch would go through the decoder. */
  readonly forward: ForwardOptions & { readonly dropout: DropoutContext };
  readonly chunks: readonly TextChunk[];
  readonly batch: B;
  readonly objective: ChunkedLoss<B>;
  readonly sink: GradientSink;
  /** See loss-scale.ts. */
  readonly scale: number;
}

/**
 * A step over a batch of any size in the memory of one chunk (GradCache: Gao et al. 2021, arXiv:2101.06983, section 3): embeddings of all
 * chunks without keeping anything, the gradient of the loss by the embeddings, then chunk by chunk forward again and backward. Dropout is a
 * function of the text's number, so both passes drop the same and the gradient is that of the whole batch.
 * @returns the loss
 */
export async function gradCacheStep<B extends ObjectiveBatch>(options: GradCacheOptions<B>): Promise<number> {
  const { runner, forward, chunks, batch, objective, sink, scale } = options;
  const { head } = objective;
  const texts = chunks.reduce((sum, { count }) => sum + count, 0);
  const embeddings = new Float32Array(texts * head.width);
  const run = async (chunk: TextChunk, keep: boolean) => {
    const pass = await runner.forward(chunk.batches, {
      ...forward,
      keep,
      dropout: { ...forward.dropout, firstText: chunk.first },
    });
    return { pass, pooled: await head.forward(pass, chunk.count) };
  };
  const store = ({ first }: TextChunk, { embeddings: rows }: PooledPass): void =>
    embeddings.set(rows, first * head.width);

  for (const chunk of chunks.slice(0, -1)) {
    const { pass, pooled } = await run(chunk, false);
    store(chunk, pooled);
    head.discard(pooled);
    runner.release(pass);
  }
  // The last chunk's pass is kept and goes backward first: one forward pass less.
  const last = chunks[chunks.length - 1];
  if (last === undefined) return 0;
  let kept: Awaited<ReturnType<typeof run>> | undefined = await run(last, true);
  store(last, kept.pooled);
  const { loss, gradient } = await objective.loss(embeddings, batch);
  for (const chunk of [...chunks].reverse()) {
    const { pass, pooled } = kept ?? (await run(chunk, true));
    kept = undefined;
    const own = gradient.subarray(chunk.first * head.width, (chunk.first + chunk.count) * head.width);
    const hiddenGradients = await head.backward(pass, pooled, { gradient: own, sink });
    await scaledBackward({ runner, scale, sink }, pass, hiddenGradients);
  }
  return loss;
}
