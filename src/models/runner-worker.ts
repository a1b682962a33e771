import { workerData } from 'node:worker_threads';
import { TensorPool } from '../compiler/pool.js';
import { floats } from '../compiler/program.js';
import { internalError } from '../shared/errors.js';
import { ADDED_ROWS, addedRows } from './added-tokens.js';
import { answerRequests } from '../shared/worker-thread.js';
import type { WorkerReply, WorkerRequest, WorkerStart } from './runner-messages.js';
import type { Pass } from './runner.js';
import { DecoderRunner } from './decoder-runner.js';
import { isPacked } from './resident.js';
import { GradientSink } from './gradient-sink.js';

/** A worker thread of `ParallelRunner`: a runner of its own, with its own copy of the weights. */
function serve(): void {
  const start = workerData as WorkerStart;
  const pool = new TensorPool();
  const decoder = { ...start.decoder, rawConfig: {}, tokenizer: { json: {}, config: {} } };
  // Full tuning trains the decoder's own weights, and added tokens are rows of one: the copies of both have to be one.
  const trainable = new Map(
    [...(start.trainable ?? [])].map(([name, data]) => {
      if (name === ADDED_ROWS) return [name, addedRows(decoder)];
      const weight = decoder.weights.get(name);
      return [name, weight === undefined || isPacked(weight) ? data : weight];
    }),
  );
  const runner = new DecoderRunner({ ...start, decoder, trainable, pool });
  const sink = new GradientSink(new Map(start.gradients));
  const passes = new Map<number, Pass>();

  const handle = async (request: WorkerRequest): Promise<WorkerReply> => {
    switch (request.kind) {
      case 'forward': {
        const pass = await runner.forward(request.batches, request.options);
        const hidden = pass.tiles.flatMap((tile) =>
          [tile.hidden, ...tile.also].map((state) => floats(state).slice()),
        );
        if (request.options.keep) passes.set(request.pass, pass);
        else runner.release(pass);
        return { hidden };
      }
      case 'backward': {
        const pass = passOf(passes, request.pass);
        const gradients = pass.tiles
          .flatMap(({ hidden, also }) => [hidden, ...also])
          .map(({ dims }, index) => {
            const gradient = pool.acquire(dims);
            floats(gradient).set(request.hiddenGradients[index] as Float32Array);
            return gradient;
          });
        sink.clear();
        await runner.backward(pass, gradients, sink);
        passes.delete(request.pass);
        return { done: true };
      }
      case 'release': {
        runner.release(passOf(passes, request.pass));
        passes.delete(request.pass);
        return { done: true };
      }
      case 'parameters': {
        for (const [name, values] of start.parameters) trainable.get(name)?.set(values);
        runner.parametersChanged();
        return { done: true };
      }
    }
  };

  answerRequests(handle, buffersOf);
}

function passOf(passes: ReadonlyMap<number, Pass>, number: number): Pass {
  const pass = passes.get(number);
  if (pass === undefined) throw internalError(`no pass ${number} on this thread`);
  return pass;
}

/** Moved to the other thread, not copied. */
function buffersOf(reply: WorkerReply): ArrayBuffer[] {
  return 'hidden' in reply ? reply.hidden.map((array) => array.buffer as ArrayBuffer) : [];
}

serve();
