import type { Device } from '../compiler/device.js';
import { TensorPool } from '../compiler/pool.js';
import { floats } from '../compiler/program.js';
import type { Batch, TokenizedText } from '../data/batch.js';
import { packTexts, padTexts } from '../data/packing.js';
import { internalError } from '../shared/errors.js';
import type { DecoderConfig } from './decoder-config.js';
import type { Decoder } from './decoder.js';
import { maskKinds, type AttentionChoice } from './layer-masks.js';
import { DecoderRunner } from './decoder-runner.js';
import type { AttentionMode, WindowMode } from './schema.js';

/** What the probe saw in one layout, as changes relative to the norm of the hidden state. */
export interface ProbeLayout {
  readonly layout: 'single' | 'padded right' | 'padded left' | 'packed';
  /** Of the hidden states before the changed token, those that moved least (also right after the first bidirectional block) and most. */
  readonly smallestChange: number;
  readonly largestChange: number;
  /** The most that one moved below the first bidirectional block of `lastLayers`. */
  readonly largestChangeBelow?: number;
  /** The most that a hidden state of another text moved. */
  readonly largestChangeOfOthers: number;
}

/** What is recorded with a model: that its attention is what was asked for. */
export interface ProbeResult {
  readonly mode: AttentionMode;
  readonly passed: boolean;
  readonly layouts: readonly ProbeLayout[];
}

/** Tokens of the texts; the first one's last is changed. */
const LENGTHS = [9, 5, 12] as const;
const LONGEST = Math.max(...LENGTHS);

/** A hidden state has moved where it changed by more than this share of its norm. What cannot see the changed token does not move at all. */
const MOVED = 1e-6;

/**
 * The future-token probe: changes the last token of a text and looks whether the hidden states before it move: all of them from the
 * first bidirectional block on, none below it or where attention is causal; for one text alone, in padded batches, and in packed rows.
 * Other texts must never move. Bidirectional attention that silently is not is the known failure of embedding toolkits.
 *
 * @throws an internal error where the attention is not what was asked for
 */
export async function probeAttention(
  decoder: Decoder,
  attention: AttentionMode,
  options: {
    readonly threads?: number;
    readonly device?: Device;
    readonly window?: WindowMode;
    readonly runner?: DecoderRunner;
  } = {},
): Promise<ProbeResult> {
  const pool = new TensorPool(options.device);
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const choice = { attention, window: options.window ?? 'keep' };
  const runner = options.runner ?? new DecoderRunner({ decoder, ...choice, pool, ...threads });
  try {
    const texts = LENGTHS.map((length, index) => probeText(length, index, decoder.config.vocab_size));
    const changed = texts.map((text, index) =>
      index === 0 ? withOtherEnd(text, decoder.config.vocab_size) : text,
    );
    const layouts: ProbeLayout[] = [];
    const layOut: Record<ProbeLayout['layout'], (all: readonly TokenizedText[]) => Batch[]> = {
      single: (all) => [padTexts(all.slice(0, 1), 'right')],
      'padded right': (all) => [padTexts(all, 'right')],
      'padded left': (all) => [padTexts(all, 'left')],
      packed: (all) => packTexts(all, { maxTokens: 32 }),
    };
    const first = firstBidirectional(attention, runner.layers);
    for (const [layout, batches] of Object.entries(layOut)) {
      const after = (blocks: number) => changesBetween(runner, [batches(texts), batches(changed)], blocks);
      const last = await after(runner.layers);
      const below = first === undefined || first === 0 ? undefined : await after(first);
      const entered = first === undefined ? last : await after(first + 1);
      const seen = (earlier: readonly number[], blocks: number): readonly number[] =>
        earlier.slice(-reach(decoder.config, choice, blocks));
      layouts.push({
        layout: layout as ProbeLayout['layout'],
        smallestChange: Math.min(
          ...seen(last.earlier, runner.layers),
          ...seen(entered.earlier, (first ?? 0) + 1),
        ),
        largestChange: Math.max(...last.earlier),
        ...(below === undefined ? {} : { largestChangeBelow: Math.max(...below.earlier) }),
        largestChangeOfOthers: Math.max(...last.others, 0),
      });
    }
    const failed = layouts.filter((layout) => !isAsAsked(layout, attention));
    if (failed.length > 0) throw internalError(failure(attention, failed));
    return { mode: attention, passed: true, layouts };
  } finally {
    if (options.runner === undefined) await runner.dispose();
    pool.clear();
  }
}

function isAsAsked(layout: ProbeLayout, attention: AttentionMode): boolean {
  if (layout.largestChangeOfOthers > MOVED) return false;
  if (attention === 'causal') return layout.largestChange <= MOVED;
  return layout.smallestChange > MOVED && (layout.largestChangeBelow ?? 0) <= MOVED;
}

function failure(attention: AttentionMode, failed: readonly ProbeLayout[]): string {
  const mode =
    typeof attention === 'string' ? attention : `bidirectional in the last ${attention.lastLayers} layers`;
  return `the future-token probe failed: attention was to be ${mode}, the hidden states say otherwise: ${JSON.stringify(failed)}`;
}

/** How many tokens back a token is seen after some blocks: each bidirectional one adds its window. */
function reach(config: DecoderConfig, choice: AttentionChoice, blocks: number): number {
  const windows = maskKinds(config, choice)
    .slice(0, blocks)
    .map(({ mode, window }) => (mode === 'causal' ? 0 : (window ?? LONGEST)));
  return Math.max(
    1,
    windows.reduce((sum, window) => sum + window, 0),
  );
}

/** Index of the first bidirectional block. */
function firstBidirectional(attention: AttentionMode, layers: number): number | undefined {
  if (attention === 'causal') return undefined;
  return attention === 'bidirectional' ? 0 : Math.max(0, layers - attention.lastLayers);
}

/** Any tokens do, as long as they differ. */
function probeText(length: number, index: number, vocabulary: number): TokenizedText {
  const ids = Int32Array.from({ length }, (_, i) => (17 * (index + 1) + 5 * i) % vocabulary);
  return { ids, pool: new Uint8Array(length).fill(1) };
}

function withOtherEnd({ ids, pool }: TokenizedText, vocabulary: number): TokenizedText {
  const last = ids.length - 1;
  return { ids: ids.map((id, i) => (i === last ? (id + 1) % vocabulary : id)), pool };
}

/** Relative changes of the first text's hidden states before its last token, and of all hidden states of the other texts. */
async function changesBetween(
  runner: DecoderRunner,
  [before, after]: readonly [Batch[], Batch[]],
  layers: number,
): Promise<{ readonly earlier: number[]; readonly others: number[] }> {
  const a = await hiddenStates(runner, before, layers);
  const b = await hiddenStates(runner, after, layers);
  const changes = a.map((states, text) => states.map((state, i) => relativeChange(state, b[text]?.[i])));
  return { earlier: changes[0]?.slice(0, -1) ?? [], others: changes.slice(1).flat() };
}

/** By text and token. */
async function hiddenStates(
  runner: DecoderRunner,
  batches: readonly Batch[],
  layers: number,
): Promise<Float32Array[][]> {
  const pass = await runner.forward(batches, { keep: false, layers });
  const result: Float32Array[][] = [];
  for (const { tile, hidden } of pass.tiles) {
    const width = hidden.dims[2] as number;
    for (const { index, row, start, length } of tile.texts) {
      const from = (row * tile.tokensPerRow + start) * width;
      result[index] = Array.from({ length }, (_, i) =>
        floats(hidden).slice(from + i * width, from + (i + 1) * width),
      );
    }
  }
  runner.release(pass);
  return result;
}

function relativeChange(a: Float32Array, b: Float32Array | undefined): number {
  let difference = 0;
  let norm = 0;
  for (const [i, value] of a.entries()) {
    difference += (value - (b?.[i] ?? NaN)) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(difference / Math.max(norm, 1e-30));
}
