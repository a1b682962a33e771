import type { Device } from '../compiler/device.js';
import { floats, floatTensor, type HostTensor } from '../compiler/program.js';
import type { Batch } from '../data/batch.js';
import type { SavePolicy } from '../compiler/split.js';
import { internalError } from '../shared/errors.js';
import { sharedFloats, WorkerThread, workersRun } from '../shared/worker-thread.js';
import type { WorkerReply, WorkerRequest, WorkerStart } from './runner-messages.js';
import type { ForwardOptions, Pass, Runner, RunnerOptions } from './runner.js';
import { DecoderRunner, WHOLE_TILE_TOKENS } from './decoder-runner.js';
import type { GradientSink } from './gradient-sink.js';
import { dealRows, tilesOf } from './tiles.js';

/** More threads than this share the tiles less well than they share a matrix product, and each one more holds another copy of the weights. */
const RUNNERS = 2;

/** Tokens of a tile on a thread of its own: larger ones start fewer operators and need more workspace. */
const TILE_TOKENS = 256;
const ROOMY_TILE_TOKENS = 512;
/** Of a tile on all threads, where memory is short. */
const FRUGAL_TILE_TOKENS = 512;

/** Of a tile on another device, where starting an operator costs more than its numbers do. */
const DEVICE_TILE_TOKENS = 8192;

/** Copies of the weights that the fastest runner for a number of threads holds. */
export function weightCopies(threads: number, device: Device = 'cpu'): number {
  // Another device computes as fast for one thread as for two.
  return device !== 'cpu' || threads < RUNNERS || !workersRun() ? 1 : RUNNERS;
}

/** Tokens that such a runner sends through a block in one call. */
export function tokensOfTile({
  threads,
  copies,
  policy,
}: {
  readonly threads: number;
  readonly copies: number;
  readonly policy: SavePolicy | undefined;
}): number {
  const fastest = weightCopies(threads);
  if (fastest > 1 && copies > 1) return sharedTileTokens(policy);
  // Where memory is too short for a second copy, it is too short for large tiles.
  return fastest === 1 ? WHOLE_TILE_TOKENS : FRUGAL_TILE_TOKENS;
}

function sharedTileTokens(policy: SavePolicy | undefined): number {
  return policy === 'all' ? ROOMY_TILE_TOKENS : TILE_TOKENS;
}

/** The runner for a number of threads and copies of the weights (default: the fastest). */
export function createRunner({ copies = Infinity, ...options }: CreateRunnerOptions): Runner {
  const { device } = options.pool;
  const fastest = weightCopies(options.threads ?? 1, device);
  if (fastest > 1 && copies > 1) return new ParallelRunner(options);
  const { threads = 1, policy } = options;
  const tileTokens = device === 'cpu' ? tokensOfTile({ threads, copies: 1, policy }) : DEVICE_TILE_TOKENS;
  return new DecoderRunner({ tileTokens, ...options });
}

interface CreateRunnerOptions extends RunnerOptions {
  readonly copies?: number;
}

interface ParallelPass extends Pass {
  readonly own: Pass;
  /** Numbers of the pass on the workers that have a part of it, with how many tiles. */
  readonly remote: readonly {
    readonly worker: RemoteRunner;
    readonly number: number;
    /** Hidden states of its tiles, `also` included. */
    readonly states: number;
  }[];
  readonly kept: boolean;
}

/**
 * Several runners, each on a thread of its own and with one share of the rows: every operator runs on one thread, so that no thread waits
 * for another within a block. On 2 cores this is a quarter faster than matrix products on two threads. Costs a copy of the weights for
 * each further thread, because ONNX Runtime's binding does not take memory that threads share.
 */
export class ParallelRunner implements Runner {
  private readonly own: DecoderRunner;
  private readonly workers: readonly RemoteRunner[];
  private readonly tileTokens: number;
  /** What the workers copy the trainable parameters from. */
  private readonly shared: ReadonlyMap<string, Float32Array>;
  private passes = 0;
  private changed = false;

  constructor(private readonly options: RunnerOptions) {
    const threads = Math.max(1, Math.floor((options.threads ?? 1) / RUNNERS));
    this.tileTokens = options.tileTokens ?? sharedTileTokens(options.policy);
    const share = { ...options, tileTokens: this.tileTokens, threads };
    this.own = new DecoderRunner(share);
    const { config, shapes, weights } = options.decoder;
    this.shared = sharedLike(options.trainable ?? new Map());
    const start = {
      ...share,
      pool: undefined,
      decoder: { config, shapes, weights },
      parameters: this.shared,
    };
    this.workers = Array.from(
      { length: RUNNERS - 1 },
      () => new RemoteRunner({ ...start, gradients: sharedLike(this.shared) }),
    );
  }

  get layers(): number {
    return this.own.layers;
  }

  async forward(batches: readonly Batch[], options: ForwardOptions): Promise<Pass> {
    this.sendParameters();
    const number = this.passes++;
    const ofTile = 1 + (options.also?.length ?? 0);
    // Workers send hidden states only.
    const alone = options.routers === true || options.keysValues === true || options.past !== undefined;
    const [mine = [], ...others] = alone ? [batches] : dealRows(batches, RUNNERS);
    const remote = others.flatMap((share, index) => {
      const worker = this.workers[index];
      if (worker === undefined || share.length === 0) return [];
      const tiles = tilesOf(share, this.tileTokens);
      return [
        {
          worker,
          number,
          states: tiles.length * ofTile,
          parts: tiles,
          reply: worker.ask({ kind: 'forward', pass: number, batches: share, options }),
        },
      ];
    });
    const [own, ...replies] = await Promise.all([
      this.own.forward(mine, options),
      ...remote.map(({ reply }) => reply),
    ]);
    const width = this.options.decoder.config.hidden_size;
    const tiles = remote.flatMap(({ parts }, index) => {
      const reply = replies[index] as WorkerReply;
      if (!('hidden' in reply)) throw internalError('a worker answered out of turn');
      return parts.map((tile, i) => {
        const states = reply.hidden
          .slice(i * ofTile, (i + 1) * ofTile)
          .map((data) => floatTensor(data, [tile.rows, tile.tokensPerRow, width]));
        return { tile, hidden: states[0] as HostTensor, also: states.slice(1) };
      });
    });
    const pass: ParallelPass = { tiles: [...own.tiles, ...tiles], own, remote, kept: options.keep };
    return pass;
  }

  async backward(pass: Pass, hiddenGradients: readonly HostTensor[], sink: GradientSink): Promise<void> {
    const { own, remote } = pass as ParallelPass;
    const mine = own.tiles.reduce((sum, { also }) => sum + 1 + also.length, 0);
    let first = mine;
    const asked = remote.map(({ worker, number, states }) => {
      const gradients = hiddenGradients.slice(first, first + states);
      first += states;
      const copies = gradients.map((gradient) => floats(gradient).slice());
      this.options.pool.release(...gradients);
      return worker.ask({ kind: 'backward', pass: number, hiddenGradients: copies });
    });
    await Promise.all([this.own.backward(own, hiddenGradients.slice(0, mine), sink), ...asked]);
    // Always in the same order: sums of floating-point numbers depend on it.
    for (const { worker } of remote)
      for (const [name, gradient] of worker.gradients) sink.add(name, gradient);
  }

  release(pass: Pass): void {
    const { own, remote, kept } = pass as ParallelPass;
    this.own.release(own);
    if (!kept) return;
    for (const { worker, number } of remote) worker.tell({ kind: 'release', pass: number });
  }

  weight(name: string): HostTensor {
    return this.own.weight(name);
  }

  parametersChanged(): void {
    this.changed = true;
    this.own.parametersChanged();
  }

  private sendParameters(): void {
    const { trainable } = this.options;
    if (!this.changed || trainable === undefined) return;
    for (const [name, values] of trainable) this.shared.get(name)?.set(values);
    for (const worker of this.workers) worker.tell({ kind: 'parameters' });
    this.changed = false;
  }

  async dispose(): Promise<void> {
    await this.own.dispose();
    await Promise.all(this.workers.map((worker) => worker.stop()));
  }
}

/** Arrays of the same names and lengths in memory that threads share: no fresh memory is touched in every step. */
function sharedLike(arrays: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> {
  return new Map([...arrays].map(([name, { length }]) => [name, sharedFloats(length)]));
}

/** A runner on a worker thread. */
class RemoteRunner extends WorkerThread<WorkerRequest, WorkerReply> {
  /** Sums of the last backward pass. */
  readonly gradients: ReadonlyMap<string, Float32Array>;

  constructor(start: WorkerStart) {
    super(new URL('./runner-worker.js', import.meta.url), start);
    this.gradients = start.gradients;
  }
}
