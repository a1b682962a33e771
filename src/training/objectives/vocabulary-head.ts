import type { Tensor } from '@tensorflow/tfjs';
import { compileLoss, type CompiledFunction } from '../../compiler/compile.js';
import { floats, floatTensor, intTensor, type HostTensor } from '../../compiler/program.js';
import type { Tensors } from '../../compiler/trace.js';
import { headName, type Decoder } from '../../models/decoder.js';
import { lastHiddenState, logits } from '../../models/output.js';
import { isPacked } from '../../models/resident.js';
import type { Pass } from '../../models/runner.js';
import type { GradientSink } from '../../models/gradient-sink.js';
import { outputShapes } from '../../models/weight-shapes.js';
import { crossEntropy } from '../losses/cross-entropy.js';
import type { ObjectiveContext, ObjectiveLoss } from './objective.js';
import { PACKED_HEAD_PLACES, PackedHead } from './packed-head.js';

/** A prediction to be made: from the hidden state at a place of a text, of token `label`. */
export interface Target {
  /** The text's index in the batch, and the place in it that predicts. */
  readonly text: number;
  readonly place: number;
  readonly label: number;
}

/** Logits of one call, at most: the largest tensor of a step. */
const LOGITS_AT_ONCE = 1 << 24;

/** Targets of one call, at most. */
function mostTargets(decoder: Pick<Decoder, 'config' | 'weights'>): number {
  const head = decoder.weights.get(headName(decoder));
  if (head !== undefined && isPacked(head)) return PACKED_HEAD_PLACES;
  const { vocab_size } = decoder.config;
  return 2 ** Math.floor(Math.log2(Math.min(4096, Math.max(32, LOGITS_AT_ONCE / vocab_size))));
}

/** Targets of the call that predicts `targets`: rounded up to a power of two by targets of weight 0, so that shapes are few. */
export function targetsOfCall(targets: number, decoder: Pick<Decoder, 'config' | 'weights'>): number {
  return Math.min(mostTargets(decoder), Math.max(16, 2 ** Math.ceil(Math.log2(targets))));
}

/** Names of the weights that are read: those before the head, and it. */
export function vocabularyWeights(decoder: Pick<Decoder, 'config' | 'weights'>): string[] {
  return [...Object.keys(outputShapes(decoder.config)), headName(decoder)];
}

/** Weighted sum of cross-entropies; inputs hidden [N, D], labels [N], weights [N], and the weights of `vocabularyWeights`. */
export function vocabularyLoss(inputs: Tensors, decoder: Pick<Decoder, 'config' | 'weights'>): Tensor {
  const { hidden, labels, weights } = inputs as { hidden: Tensor; labels: Tensor; weights: Tensor };
  const last = lastHiddenState(inputs, hidden, decoder.config);
  return crossEntropy(logits(inputs[headName(decoder)] as Tensor, last, decoder.config), labels)
    .mul(weights)
    .sum();
}

/**
 * Norm, head and cross-entropy, only at the places where something is predicted: their hidden states are gathered first, so that the
 * full head never runs.
 */
export class VocabularyHead {
  private readonly program: CompiledFunction;
  private readonly packed: PackedHead | undefined;
  /** Weights that are read: those before the head, and it. */
  private readonly names: readonly string[];
  private readonly trainedNames: readonly string[];

  constructor(private readonly context: ObjectiveContext) {
    const { decoder, pool, threads, trained } = context;
    this.names = vocabularyWeights(decoder);
    this.trainedNames = this.names.filter((name) => trained.has(name));
    const head = decoder.weights.get(headName(decoder));
    this.packed = head !== undefined && isPacked(head) ? new PackedHead(head, context) : undefined;
    this.program = compileLoss((inputs) => vocabularyLoss(inputs, decoder), {
      name: 'vocabulary head',
      pool,
      wrt: ['hidden', ...this.trainedNames],
      ...(threads === undefined ? {} : { threads }),
    });
  }

  /** Mean cross-entropy over the targets. */
  async loss(pass: Pass, targets: readonly Target[], sink: GradientSink): Promise<ObjectiveLoss> {
    const { pool, decoder } = this.context;
    const width = decoder.config.hidden_size;
    const places = placesOf(pass, targets, width);
    const hiddenGradients = pass.tiles.map(({ hidden }) => {
      const gradient = pool.acquire(hidden.dims);
      floats(gradient).fill(0);
      return gradient;
    });
    let loss = 0;
    const most = mostTargets(decoder);
    for (let first = 0; first < targets.length; first += most) {
      const chunk = places.slice(first, first + most);
      const count = targetsOfCall(chunk.length, decoder);
      const hidden = pool.acquire([count, width]);
      floats(hidden).fill(0);
      const labels = new Int32Array(count);
      const weights = new Float32Array(count);
      for (const [row, { tile, offset, label }] of chunk.entries()) {
        const source = floats((pass.tiles[tile] as Pass['tiles'][number]).hidden);
        floats(hidden).set(source.subarray(offset, offset + width), row * width);
        labels[row] = label;
        weights[row] = 1 / targets.length;
      }
      const chunkLoss = await this.chunkLoss({ hidden, labels, weights }, sink);
      loss += chunkLoss.loss;
      const gradient = floats(chunkLoss.gradient);
      for (const [row, { tile, offset }] of chunk.entries()) {
        floats(hiddenGradients[tile] as HostTensor).set(
          gradient.subarray(row * width, (row + 1) * width),
          offset,
        );
      }
      pool.release(hidden, chunkLoss.gradient);
    }
    return { loss, hiddenGradients };
  }

  /** Weighted sum over some places, and its gradient by their hidden states; those of trained weights go to the sink. */
  private async chunkLoss(
    places: { readonly hidden: HostTensor; readonly labels: Int32Array; readonly weights: Float32Array },
    sink: GradientSink,
  ): Promise<{ readonly loss: number; readonly gradient: HostTensor }> {
    if (this.packed !== undefined) return this.packed.loss(places);
    const { pool, runner } = this.context;
    const count = places.labels.length;
    const {
      loss,
      'gradient:hidden': gradient,
      ...others
    } = await this.program.run({
      hidden: places.hidden,
      labels: intTensor(places.labels, [count]),
      weights: floatTensor(places.weights, [count]),
      ...Object.fromEntries(this.names.map((name) => [name, runner.weight(name)])),
    });
    for (const name of this.trainedNames) sink.add(name, floats(others[`gradient:${name}`] as HostTensor));
    const sum = floats(loss as HostTensor)[0] as number;
    pool.release(loss as HostTensor, ...Object.values(others));
    return { loss: sum, gradient: gradient as HostTensor };
  }

  async dispose(): Promise<void> {
    await this.packed?.dispose();
    await this.program.release();
  }
}

interface HiddenPlace {
  readonly tile: number;
  /** Of the first number of the hidden state in its tile. */
  readonly offset: number;
  readonly label: number;
}

function placesOf(pass: Pass, targets: readonly Target[], width: number): HiddenPlace[] {
  const starts = new Map<number, { readonly tile: number; readonly start: number }>();
  for (const [index, { tile }] of pass.tiles.entries()) {
    for (const text of tile.texts)
      starts.set(text.index, { tile: index, start: text.row * tile.tokensPerRow + text.start });
  }
  return targets.map(({ text, place, label }) => {
    const { tile, start } = starts.get(text) as { tile: number; start: number };
    return { tile, offset: (start + place) * width, label };
  });
}
