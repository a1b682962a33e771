import { parentPort, Worker } from 'node:worker_threads';
import { internalError } from './errors.js';

type Answer<Reply> = { readonly reply: Reply } | { readonly error: string };

/** Worker threads need compiled JavaScript: from the sources (tests, tsx) everything runs on one. */
export function workersRun(): boolean {
  return import.meta.url.endsWith('.js');
}

/** A worker thread that answers requests in their order; what it runs calls `answerRequests`. */
export class WorkerThread<Request, Reply> {
  private readonly thread: Worker;
  private readonly waiting: { resolve(reply: Reply): void; reject(error: Error): void }[] = [];
  private failure: Error | undefined;
  /** Answers come in the order of the requests. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(file: URL, start: unknown) {
    this.thread = new Worker(file, { workerData: start });
    // A thread that nobody waits for keeps no process alive.
    this.thread.unref();
    this.thread.on('message', (answer: Answer<Reply>) => {
      const next = this.waiting.shift();
      if (this.waiting.length === 0) this.thread.unref();
      if ('error' in answer) next?.reject(new Error(answer.error));
      else next?.resolve(answer.reply);
    });
    this.thread.on('error', (error) => this.fail(error instanceof Error ? error : new Error(String(error))));
    this.thread.on('exit', (code) => this.fail(internalError(`a worker thread ended with code ${code}`)));
  }

  ask(request: Request): Promise<Reply> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    const answer = new Promise<Reply>((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.thread.ref();
      this.thread.postMessage(request);
    });
    this.last = answer;
    return answer;
  }

  /** A request whose answer says nothing; a failure shows at the next `ask`. */
  tell(request: Request): void {
    this.ask(request).catch((error: unknown) => {
      this.failure ??= error instanceof Error ? error : new Error(String(error));
    });
  }

  /** Waits for what was asked: a thread that is ended within ONNX Runtime takes the whole process with it. */
  async stop(): Promise<void> {
    await this.last.catch(() => undefined);
    this.thread.removeAllListeners('exit');
    await this.thread.terminate();
  }

  private fail(error: Error): void {
    this.failure ??= error;
    for (const waiting of this.waiting.splice(0)) waiting.reject(error);
  }
}

/**
 * The worker's side of a `WorkerThread`: one request after the other.
 * @param buffersOf what of a reply is moved to the other thread, not copied
 */
export function answerRequests<Reply>(
  handle: (request: never) => Promise<Reply>,
  buffersOf: (reply: Reply) => ArrayBuffer[],
): void {
  const port = parentPort;
  if (port === null) throw internalError('a file of a worker thread is started as one only');
  let last: Promise<unknown> = Promise.resolve();
  port.on('message', (request: unknown) => {
    last = last
      .then(() => handle(request as never))
      .then(
        (reply) => port.postMessage({ reply }, buffersOf(reply)),
        (error: unknown) =>
          port.postMessage({
            error: error instanceof Error ? (error.stack ?? error.message) : String(error),
          }),
      );
  });
}

/** Numbers in memory that threads share: nothing is copied into a message. */
export function sharedFloats(count: number): Float32Array {
  return new Float32Array(new SharedArrayBuffer(4 * count));
}
