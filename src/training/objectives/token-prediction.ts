import type { TokenizedText } from '../../data/batch.js';
import { packTexts } from '../../data/packing.js';
import { BatchSampler } from '../../data/sampler.js';
import type { ChunkList } from '../../data/token-chunks.js';
import type { TextTokenizer } from '../../data/tokenizer.js';
import { hashKey, hashString } from '../../shared/random.js';
import { userError } from '../../shared/errors.js';
import type { CausalLmStageConfig, MntpStageConfig } from '../schema.js';
import type { Objective, ObjectiveBatch, ObjectiveContext } from './objective.js';
import { VocabularyHead, type Target } from './vocabulary-head.js';

interface PredictionBatch extends ObjectiveBatch {
  readonly texts: readonly TokenizedText[];
  readonly targets: readonly Target[];
}

interface Prediction {
  readonly text: TokenizedText;
  readonly targets: readonly Target[];
}

/** Objectives over running text: chunks of tokens, some of which are predicted from the place before them. */
function tokenPrediction(
  chunks: ChunkList,
  {
    context,
    stage,
    predict,
  }: {
    readonly context: ObjectiveContext;
    readonly stage: CausalLmStageConfig | MntpStageConfig;
    /** `number` is the text's index in the batch, `batch` that of the batch in the stage. */
    readonly predict: (chunk: TokenizedText, number: number, batch: number) => Prediction;
  },
): Objective<PredictionBatch> {
  const head = new VocabularyHead(context);
  const { batchTexts } = stage;
  const sampler = new BatchSampler({ count: chunks.length, batchTexts, seed: context.seed });
  return {
    blocks: context.decoder.config.num_hidden_layers,
    batch: (index) => {
      const predictions = [...sampler.batch(index)].map((chunk, number) =>
        predict(chunks.at(chunk) as TokenizedText, number, index),
      );
      const texts = predictions.map(({ text }) => text);
      return {
        texts,
        batches: packTexts(texts, { maxTokens: stage.maxTokens }),
        tokens: texts.reduce((sum, { ids }) => sum + ids.length, 0),
        targets: predictions.flatMap(({ targets }) => targets),
      };
    },
    loss: (pass, { targets }, sink) => head.loss(pass, targets, sink),
    decode: ({ texts, targets }) =>
      texts.map((text, number) => decodeTargets(text, { number, targets, tokenizer: context.tokenizer })),
    dispose: () => head.dispose(),
  };
}

/** Causal language modelling: every token is predicted from those before it. */
export function causalLm(
  chunks: ChunkList,
  stage: CausalLmStageConfig,
  context: ObjectiveContext,
): Objective<PredictionBatch> {
  return tokenPrediction(chunks, {
    context,
    stage,
    predict: (text, number) => ({
      text,
      targets: Array.from({ length: text.ids.length - 1 }, (_, place) => ({
        text: number,
        place,
        label: text.ids[place + 1] as number,
      })),
    }),
  });
}

/**
 * Masked next-token prediction (BehnamGhader et al. 2024, LLM2Vec, section 2.1): a share of the tokens is hidden, and the logits at
 * place i - 1 predict the hidden token i; place 0 is never hidden. Of the chosen tokens some become the mask token, some a random one, some stay.
 */
export function mntp(
  chunks: ChunkList,
  stage: MntpStageConfig,
  context: ObjectiveContext,
): Objective<PredictionBatch> {
  const maskToken = maskTokenId(stage.maskToken, context.tokenizer);
  const { vocab_size, embedding } = context.decoder.config;
  // Tokens that a pooling added stand in no running text.
  const vocabulary = Math.min(vocab_size, embedding.added?.first ?? vocab_size);
  const { maskRatio, replacement } = stage;
  return tokenPrediction(chunks, {
    context,
    stage,
    predict: (chunk, number, batch) => {
      const ids = chunk.ids.slice();
      const targets: Target[] = [];
      const hide = (place: number, kind: number, random: number): void => {
        const label = chunk.ids[place] as number;
        targets.push({ text: number, place: place - 1, label });
        if (kind < replacement.mask) ids[place] = maskToken;
        else if (kind < replacement.mask + replacement.random) ids[place] = Math.floor(random * vocabulary);
      };
      const uniform = (place: number, draw: number): number =>
        hashKey(context.seed, hashString('mntp'), batch, number, place, draw) / 4294967296;
      for (let place = 1; place < ids.length; place++) {
        if (uniform(place, 0) < maskRatio) hide(place, uniform(place, 1), uniform(place, 2));
      }
      // A short text that by chance hides nothing hides one token all the same.
      if (targets.length === 0)
        hide(1 + Math.floor(uniform(0, 0) * (ids.length - 1)), uniform(0, 1), uniform(0, 2));
      return { text: { ids, pool: chunk.pool }, targets };
    },
  });
}

function maskTokenId(token: string, tokenizer: TextTokenizer): number {
  const id = token === 'eos' ? tokenizer.eosTokenId : tokenizer.tokenId(token);
  if (id !== undefined) return id;
  const pieces = tokenizer.encode(token);
  if (token !== 'eos' && pieces.length === 1) return pieces[0] as number;
  throw userError({
    what: `the mask token ${JSON.stringify(token)} is not one token of this tokenizer`,
    where: 'maskToken',
    got: token === 'eos' ? 'no end token' : `${pieces.length} tokens`,
    expected: 'a token of the vocabulary, or eos',
  });
}

/** `[shown→label]` at the places that are predicted. */
function decodeTargets(
  { ids }: TokenizedText,
  {
    number,
    targets,
    tokenizer,
  }: { readonly number: number; readonly targets: readonly Target[]; readonly tokenizer: TextTokenizer },
): string {
  const labels = new Map(
    targets.filter(({ text }) => text === number).map(({ place, label }) => [place + 1, label]),
  );
  // Where everything is predicted there is nothing to mark.
  if (labels.size >= ids.length - 1) return tokenizer.decode(ids);
  let line = '';
  let plain: number[] = [];
  for (const [place, id] of ids.entries()) {
    const label = labels.get(place);
    if (label === undefined) {
      plain.push(id);
      continue;
    }
    line += `${tokenizer.decode(Int32Array.from(plain))}[${tokenizer.decode(Int32Array.of(id))}→${tokenizer.decode(Int32Array.of(label))}]`;
    plain = [];
  }
  return line + tokenizer.decode(Int32Array.from(plain));
}
