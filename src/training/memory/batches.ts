import type { Batch, TokenizedText } from '../../data/batch.js';
import { packTexts, padTexts } from '../../data/packing.js';
import { dealRows, tilesOf, type Tile } from '../../models/tiles.js';
import { randomStream } from '../../shared/random.js';
import type { DecoderStageConfig } from '../schema.js';

/** Batches that are looked at: enough to meet the tall ones of a run. */
const DRAWS = 12;
/** Chunks that are looked at where a batch has several: every shape of theirs is met soon. */
const CHUNK_DRAWS = 60;
/** Texts of an evaluation: sentences of these lengths. */
const SENTENCES = { shortest: 6, longest: 48, tokens: 4096 };

/** Batches, or chunks of one, as the stage would make them of texts of these lengths: what goes through the decoder at once. */
export function expectedBatches(stage: DecoderStageConfig, lengths: readonly number[]): Batch[][] {
  const random = randomStream(1);
  const draws = textsAtOnce(stage) < textsOfBatch(stage) ? CHUNK_DRAWS : DRAWS;
  return Array.from({ length: draws }, () => {
    const draw = (): TokenizedText => blankText(lengths[random.integer(lengths.length)] ?? stage.maxTokens);
    const texts = Array.from({ length: textsAtOnce(stage) }, draw);
    // The two views of a text are of one length.
    const all = stage.objective === 'simcse' ? [...texts, ...texts] : texts;
    return stage.compat === 'llm2vec' ? [padTexts(all, 'left')] : packTexts(all, stage);
  });
}

/** What evaluations send through the decoder at once. */
export function evaluatedBatches(maxTokens: number): Batch[][] {
  const lengths: number[] = [];
  const groups: Batch[][] = [];
  for (let length = Math.min(SENTENCES.longest, maxTokens); length >= SENTENCES.shortest; length -= 3) {
    lengths.length = Math.ceil(SENTENCES.tokens / length);
    groups.push(
      packTexts(
        Array.from(lengths, () => blankText(length)),
        { maxTokens },
      ),
    );
  }
  return groups;
}

/** The tiles of each runner, each on a share of the rows. */
export function tilesOfRunners(
  batches: readonly Batch[],
  { copies, tileTokens }: { readonly copies: number; readonly tileTokens: number },
): Tile[][] {
  const shares = copies === 1 ? [[...batches]] : dealRows(batches, copies);
  return shares.map((share) => tilesOf(share, tileTokens));
}

/** Texts of SimCSE before they are doubled; query, positive and negatives of each example in contrastive training. */
function textsOfBatch(stage: DecoderStageConfig): number {
  return stage.objective === 'contrastive' ? (2 + stage.hardNegatives) * stage.batchTexts : stage.batchTexts;
}

function textsAtOnce(stage: DecoderStageConfig): number {
  const all = textsOfBatch(stage);
  return stage.objective === 'contrastive' ? Math.min(stage.chunkTexts ?? Infinity, all) : all;
}

function blankText(length: number): TokenizedText {
  return { ids: new Int32Array(Math.max(1, length)), pool: new Uint8Array(Math.max(1, length)).fill(1) };
}
