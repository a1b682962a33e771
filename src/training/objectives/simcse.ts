import type { Tensor } from '@tensorflow/tfjs';
import { compileLoss } from '../../compiler/compile.js';
import { floats, floatTensor, intTensor, type HostTensor } from '../../compiler/program.js';
import type { Batch, TokenizedText } from '../../data/batch.js';
import { packTexts, padTexts } from '../../data/packing.js';
import type { TextPreparer } from '../../data/prompts.js';
import { BatchSampler } from '../../data/sampler.js';
import type { TextList } from '../../data/text-list.js';
import { infoNce } from '../losses/info-nce.js';
import { addSparsityPenalty } from '../losses/sparsity.js';
import type { SimcseStageConfig } from '../schema.js';
import { decodePooled } from './decode-pooled.js';
import { EmbeddingHead } from './embedding-head.js';
import type { Objective, ObjectiveBatch, ObjectiveContext } from './objective.js';

interface SimcseBatch extends ObjectiveBatch {
  /** First views, then second views. */
  readonly texts: readonly TokenizedText[];
}

/**
 * Unsupervised SimCSE (Gao et al. 2021): every text goes through the decoder twice; different dropout makes the two views a positive
 * pair, the other texts' second views are the negatives.
 */
export function simcse(
  sentences: TextList,
  {
    stage,
    context,
    prepare,
    prepareSecond = prepare,
  }: {
    readonly stage: SimcseStageConfig;
    readonly context: ObjectiveContext;
    readonly prepare: TextPreparer;
    /** Of the second view; the first's where left out. */
    readonly prepareSecond?: TextPreparer;
  },
): Objective<SimcseBatch> {
  const head = new EmbeddingHead(context);
  const { pool, threads } = context;
  const program = compileLoss(
    (inputs) => {
      const { embeddings, labels } = inputs as { embeddings: Tensor; labels: Tensor };
      const [count, width] = embeddings.shape as [number, number];
      const queries = embeddings.slice([0, 0], [count / 2, width]);
      const documents = embeddings.slice([count / 2, 0], [count / 2, width]);
      return infoNce({ queries, documents, labels, scale: stage.scale });
    },
    { name: 'SimCSE loss', pool, wrt: ['embeddings'], ...(threads === undefined ? {} : { threads }) },
  );
  const pack =
    stage.compat === 'llm2vec'
      ? (texts: readonly TokenizedText[]) => [pooledPadding(texts, context)]
      : packed(stage);
  const { batchTexts } = stage;
  const sampler = new BatchSampler({ count: sentences.length, batchTexts, seed: context.seed });
  return {
    blocks: head.blocks,
    also: head.also,
    batch: (index) => {
      const chosen = sampler.batch(index);
      const first = [...chosen].map((sentence) => prepare(sentences.at(sentence) as string));
      const second =
        prepareSecond === prepare
          ? first
          : [...chosen].map((sentence) => prepareSecond(sentences.at(sentence) as string));
      const texts = [...first, ...second];
      return { texts, batches: pack(texts), tokens: texts.reduce((sum, { ids }) => sum + ids.length, 0) };
    },
    loss: async (pass, { texts }, sink) => {
      const pooled = await head.forward(pass, texts.length);
      const labels = Int32Array.from({ length: texts.length / 2 }, (_, i) => i);
      const result = await program.run({
        embeddings: floatTensor(pooled.embeddings, [texts.length, head.width]),
        labels: intTensor(labels, [labels.length]),
      });
      const gradient = floats(result['gradient:embeddings'] as HostTensor);
      const { sparsity } = stage;
      const { embeddings } = pooled;
      const penalty =
        sparsity === undefined
          ? 0
          : addSparsityPenalty(sparsity, { embeddings, gradient, width: head.width });
      const loss = (floats(result['loss'] as HostTensor)[0] as number) + penalty;
      const hiddenGradients = await head.backward(pass, pooled, { gradient, sink });
      pool.release(...Object.values(result));
      return { loss, hiddenGradients };
    },
    decode: ({ texts }) =>
      texts.slice(0, texts.length / 2).map((text) => decodePooled(text, context.tokenizer)),
    dispose: async () => {
      await program.release();
      await head.dispose();
    },
  };
}

function packed(stage: SimcseStageConfig): (texts: readonly TokenizedText[]) => Batch[] {
  return (texts) => packTexts(texts, { maxTokens: stage.maxTokens });
}

/**
 * LLM2Vec's own batch: padded on the left to the longest text, and the mean runs over the padding too. Padding looks at its text and is
 * looked at by nobody (a negative segment).
 */
function pooledPadding(texts: readonly TokenizedText[], { tokenizer }: ObjectiveContext): Batch {
  const batch = padTexts(texts, 'left');
  const { tokensPerRow, inputIds, segments, positions } = batch;
  for (const { row, start } of batch.texts) {
    for (let place = 0; place < tokensPerRow; place++) {
      const i = row * tokensPerRow + place;
      positions[i] = place;
      if (place >= start) continue;
      inputIds[i] = tokenizer.eosTokenId ?? 0;
      segments[i] = -(row + 1);
    }
  }
  return {
    ...batch,
    poolMask: new Uint8Array(batch.poolMask.length).fill(1),
    texts: batch.texts.map((text) => ({ ...text, start: 0, length: tokensPerRow })),
  };
}
