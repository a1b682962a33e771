import { matMul, type Tensor } from '@tensorflow/tfjs';
import {
  compile,
  compileGradient,
  type CompiledFunction,
  type CompiledGradient,
} from '../../compiler/compile.js';
import { floats, floatTensor, type HostTensor } from '../../compiler/program.js';
import type { DecoderConfig } from '../../models/decoder-config.js';
import { addTo } from '../../models/gradient-sink.js';
import { lastHiddenState, logits } from '../../models/output.js';
import { expandRange, expandRows } from '../../models/resident.js';
import { outputShapes } from '../../models/weight-shapes.js';
import type { PackedTensor } from '../../models/weights/types.js';
import type { ObjectiveContext } from './objective.js';

/** Rows of the head that are float32 at once. */
const PIECE_ROWS = 8192;
/** Places that are predicted at once: their logits of one piece are the largest tensor. */
export const PACKED_HEAD_PLACES = 2048;

/** Bytes of the piece of a packed head that is expanded. */
export function packedHeadBytes({ vocab_size: vocabulary, output }: DecoderConfig): number {
  return 4 * Math.min(PIECE_ROWS, vocabulary) * output.width;
}

interface Places {
  /** [M, D] */
  readonly hidden: HostTensor;
  readonly labels: Int32Array;
  readonly weights: Float32Array;
}

/**
 * Norm, head and cross-entropy with a head that stays packed, a piece of its rows after the other: first log(sum(exp(logits))) over all of
 * them, then the gradient softmax - 1 at the label. The head itself is not trained.
 */
export class PackedHead {
  private readonly last: CompiledGradient;
  private readonly sums: CompiledFunction;
  private readonly slopes: CompiledFunction;
  private readonly targets: CompiledFunction;

  constructor(
    private readonly head: PackedTensor,
    private readonly context: Pick<ObjectiveContext, 'decoder' | 'pool' | 'threads' | 'runner'> & {
      readonly pieceRows?: number;
    },
  ) {
    const { decoder, pool, threads } = context;
    const { config } = decoder;
    const options = { pool, ...(threads === undefined ? {} : { threads }) };
    this.last = compileGradient((inputs) => lastHiddenState(inputs, inputs['hidden'] as Tensor, config), {
      ...options,
      name: 'before the head',
      wrt: ['hidden'],
      policy: 'all',
    });
    this.sums = compile(
      (inputs) => {
        const { last, piece } = inputs as { last: Tensor; piece: Tensor };
        const x = logits(piece, last, config);
        const highest = x.max(-1, true);
        return { highest: highest.reshape([-1]), sum: x.sub(highest).exp().sum(-1) };
      },
      { ...options, name: 'sums of a packed head' },
    );
    this.slopes = compile(
      (inputs) => {
        const { last, piece, logSum, weights } = inputs as Record<string, Tensor> & { last: Tensor };
        const x = logits(piece as Tensor, last, config);
        const column = [last.shape[0], 1] as [number, number];
        const share = x
          .sub((logSum as Tensor).reshape(column))
          .exp()
          .mul((weights as Tensor).reshape(column));
        return { gradient: matMul(timesCapSlope(share, x, config), piece as Tensor) };
      },
      { ...options, name: 'gradient of a packed head' },
    );
    this.targets = compile(
      (inputs) => {
        const { last, rows, weights } = inputs as { last: Tensor; rows: Tensor; weights: Tensor };
        const raw = last.mul(rows).sum(-1);
        const { softcap } = config.output;
        const x =
          softcap === undefined
            ? raw
            : raw
                .mul(1 / softcap)
                .tanh()
                .mul(softcap);
        const share = timesCapSlope(weights.mul(-1), x, config);
        return { logit: x, gradient: rows.mul(share.reshape([last.shape[0], 1])) };
      },
      { ...options, name: 'targets of a packed head' },
    );
  }

  /** Weighted sum of the cross-entropies, and its gradient by the hidden states. */
  async loss({ hidden, labels, weights }: Places): Promise<{ loss: number; gradient: HostTensor }> {
    const { pool, runner, decoder } = this.context;
    const width = decoder.config.output.width;
    const count = labels.length;
    const inputs = {
      hidden,
      ...Object.fromEntries(
        Object.keys(outputShapes(decoder.config)).map((name) => [name, runner.weight(name)]),
      ),
    };
    const { output: last, saved } = await this.last.forward(inputs);
    const logSums = await this.logSums(last, count);
    const weighted = floatTensor(weights, [count]);
    const rows = pool.acquire([count, width]);
    expandRows(this.head, labels, { target: floats(rows), width });
    const target = await this.targets.run({ last, rows, weights: weighted });
    const gradient = target['gradient'] as HostTensor;
    const logit = floats(target['logit'] as HostTensor);
    const loss = logSums.reduce((sum, logSum, i) => sum + (weights[i] ?? 0) * (logSum - (logit[i] ?? 0)), 0);
    for (const piece of this.pieces()) {
      const part = await this.slopes.run({
        last,
        piece,
        logSum: floatTensor(logSums, [count]),
        weights: weighted,
      });
      addTo(floats(gradient), floats(part['gradient'] as HostTensor));
      pool.release(...Object.values(part));
    }
    const result = await this.last.backward(inputs, saved, gradient);
    pool.release(last, rows, target['logit'] as HostTensor, gradient);
    return { loss, gradient: result['hidden'] as HostTensor };
  }

  /** log(sum(exp(logits))) of every place. */
  private async logSums(last: HostTensor, count: number): Promise<Float32Array> {
    const highest = new Float64Array(count).fill(-Infinity);
    const sums = new Float64Array(count);
    for (const piece of this.pieces()) {
      const part = await this.sums.run({ last, piece });
      const [high, sum] = [part['highest'], part['sum']].map((tensor) => floats(tensor as HostTensor));
      for (let i = 0; i < count; i++) {
        const top = Math.max(highest[i] as number, high?.[i] as number);
        const scaled = (value: number, from: number): number => value * Math.exp(from - top);
        sums[i] =
          scaled(sums[i] as number, highest[i] as number) + scaled(sum?.[i] as number, high?.[i] as number);
        highest[i] = top;
      }
      this.context.pool.release(...Object.values(part));
    }
    return Float32Array.from(sums, (sum, i) => Math.log(sum) + (highest[i] as number));
  }

  /** The head's rows in float32, some at a time in memory that the next ones take again. */
  private *pieces(): Generator<HostTensor> {
    const { pool, decoder, pieceRows = PIECE_ROWS } = this.context;
    const { vocab_size: vocabulary, output } = decoder.config;
    for (let first = 0; first < vocabulary; first += pieceRows) {
      const piece = pool.acquire([Math.min(pieceRows, vocabulary - first), output.width]);
      expandRange(this.head, first * output.width, floats(piece));
      yield piece;
      pool.release(piece);
    }
  }

  async dispose(): Promise<void> {
    for (const program of [this.last, this.sums, this.slopes, this.targets]) await program.release();
  }
}

/** dy times the derivative of the capped logits x by the raw ones: 1 - (x / cap)^2. */
function timesCapSlope(
  dy: Tensor,
  x: Tensor,
  { output: { softcap } }: Pick<DecoderConfig, 'output'>,
): Tensor {
  if (softcap === undefined) return dy;
  const slope = x
    .mul(1 / softcap)
    .square()
    .mul(-1)
    .add(1);
  return dy.mul(slope);
}
