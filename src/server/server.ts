import { createHash, timingSafeEqual } from 'node:crypto';
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
} from 'fastify';
import type { Logger } from '../shared/logger.js';
import { refusalOf, RequestError } from './answers.js';
import { openAiRoutes } from './openai-routes.js';
import { EmbeddingService, type ServiceOptions } from './service.js';
import { teiRoutes } from './tei-routes.js';

export interface ServerOptions extends ServiceOptions {
  /** Asked for as `Authorization: Bearer KEY` by all routes but `/health`. */
  readonly apiKey?: string;
  /** Bytes of a request's body. */
  readonly bodyBytes: number;
  readonly log: Logger;
}

/**
 * An HTTP server over one embedder: OpenAI's `/v1/embeddings` and `/v1/models`, text-embeddings-inference's `/embed` and `/info`, `/health`,
 * and `/metrics` for Prometheus. `close()` answers what was asked before it ends.
 */
export function createServer(options: ServerOptions): FastifyInstance {
  const { apiKey, bodyBytes, log, ...rest } = options;
  const service = new EmbeddingService(rest);
  // As the base type, whose logger is what the routes take.
  const loggerInstance: FastifyBaseLogger = log;
  const app = fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: bodyBytes,
  });

  app.addHook('onResponse', (request, reply, done) => {
    const { url = 'unknown' } = request.routeOptions;
    service.metrics.request(url, reply.statusCode, reply.elapsedTime / 1000);
    done();
  });
  // A connection that waits for its answer would else be kept open for the next request.
  let closing = false;
  app.addHook('preClose', (done) => {
    closing = true;
    done();
  });
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (closing) reply.header('connection', 'close');
    done();
  });
  if (apiKey !== undefined) {
    const expected = digest(`Bearer ${apiKey}`);
    app.addHook('onRequest', (request, _reply, done) => {
      if (request.routeOptions.url === '/health' || isSame(request, expected)) done();
      else done(new RequestError('a key is needed: Authorization: Bearer KEY', 'unauthorized'));
    });
  }
  app.setErrorHandler((error, request, reply) => {
    const { status, message } = refusalOf(error);
    if (status >= 500) request.log.error(error);
    return reply.status(status).send({ error: message });
  });
  app.setNotFoundHandler((request, reply) =>
    reply.status(404).send({
      error: `no route ${request.method} ${request.url}: there are POST /v1/embeddings, POST /embed, GET /v1/models, /info, /health, /metrics`,
    }),
  );
  app.get('/health', (_request, reply) => reply.status(200).send());
  app.get('/metrics', async (_request, reply) => {
    reply.header('content-type', service.metrics.contentType);
    return service.metrics.text();
  });
  // Each API has errors of its own form.
  void app.register((scope, _options, done) => {
    openAiRoutes(scope, service);
    done();
  });
  void app.register((scope, _options, done) => {
    teiRoutes(scope, service);
    done();
  });
  return app;
}

/** Compared at the same speed wherever they differ. */
function isSame({ headers }: FastifyRequest, expected: Buffer): boolean {
  return timingSafeEqual(digest(headers.authorization ?? ''), expected);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
