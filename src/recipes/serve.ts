import { basename, resolve } from 'node:path';
import { createServer } from '../server/server.js';
import { userError } from '../shared/errors.js';
import type { Logger } from '../shared/logger.js';
import { openEmbedder, type ModelOptions } from './open-model.js';

export interface ServeOptions extends ModelOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** What clients call the model; default: the name of its folder or file. */
  readonly name?: string;
  /** Tokens of one run of the model (default 16,384). */
  readonly batchTokens?: number;
  /** Texts that may wait (default 8,192); more are refused with 429. */
  readonly queueTexts?: number;
  /** Texts of one request (default 2,048). */
  readonly requestTexts?: number;
  /** Whether a text that is too long loses its end (default) or is refused, where a request does not say. */
  readonly truncate?: boolean;
  readonly apiKey?: string;
  readonly log: Logger;
}

export interface RunningServer {
  /** `http://HOST:PORT` */
  readonly url: string;
  readonly name: string;
  /** Takes no more requests, answers those that it has, and frees the model. */
  close(): Promise<void>;
}

/** Bytes of a request's body: 2,048 texts of two pages. */
const BODY_BYTES = 16 * 1024 * 1024;

/**
 * Opens a model and serves it over HTTP.
 * @throws UserError where the model cannot be read or the address is not to be had
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { host, port, log } = options;
  const name = options.name ?? basename(resolve(options.model));
  const embedder = await openEmbedder(options);
  const app = createServer({
    embedder,
    name,
    batchTokens: options.batchTokens ?? 16_384,
    queueTexts: options.queueTexts ?? 8192,
    requestTexts: options.requestTexts ?? 2048,
    truncate: options.truncate ?? true,
    ...(options.apiKey === undefined ? {} : { apiKey: options.apiKey }),
    bodyBytes: BODY_BYTES,
    log,
  });
  const close = async (): Promise<void> => {
    await app.close();
    await embedder.dispose();
  };
  try {
    // The first request shall not wait for the compiler.
    await embedder.encode('a');
    return { url: await app.listen({ host, port }), name, close };
  } catch (error) {
    await close();
    throw addressError(error, host, port);
  }
}

function addressError(error: unknown, host: string, port: number): unknown {
  const reason = {
    EADDRINUSE: 'another program listens there',
    EADDRNOTAVAIL: 'this machine has no such address',
    EACCES: 'permission denied',
    ENOTFOUND: 'no such host',
  }[(error as { readonly code?: string }).code ?? ''];
  if (reason === undefined) return error;
  return userError({
    what: `cannot listen: ${reason}`,
    where: `${host}:${port}`,
    hint: 'choose another with --host and --port',
  });
}
