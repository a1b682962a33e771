import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { parseBody, refusalOf, RequestError } from './answers.js';
import { encoded } from './numbers.js';
import type { EmbeddingService } from './service.js';
import { signalOf } from './signal.js';

const inputSchema = z.union(
  [z.string(), z.array(z.string()).min(1)],
  'expected a text or a list of texts (token ids are of another tokenizer: send text)',
);

const bodySchema = z.strictObject({
  model: z.string(),
  input: inputSchema,
  encoding_format: z.enum(['float', 'base64']).default('float'),
  dimensions: z.int().min(1).optional(),
  user: z.string().optional(),
  /** As text-embeddings-inference has them. */
  prompt_name: z.string().optional(),
  truncate: z.boolean().optional(),
});

/** OpenAI's embeddings API: `POST /v1/embeddings`, `GET /v1/models`. Its clients ask for base64 by default. */
export function openAiRoutes(app: FastifyInstance, service: EmbeddingService): void {
  const { name } = service.options;
  const model = { id: name, object: 'model', created: Math.floor(Date.now() / 1000), owned_by: 'lmvec' };

  app.setErrorHandler((error, request, reply) => {
    const { status, message, type, param } = refusalOf(error);
    if (status >= 500) request.log.error(error);
    // OpenAI's own status for a body that cannot be used.
    const code = status === 422 || type === 'validation' ? 400 : status;
    const said = { message, type: openAiType(code), param: param ?? null, code: null };
    return reply.status(code).send({ error: said });
  });

  app.get('/v1/models', () => ({ object: 'list', data: [model] }));
  app.get('/v1/models/:id', (request) => {
    const { id } = request.params as { readonly id: string };
    checkName(id, name);
    return model;
  });
  app.post('/v1/embeddings', async (request, reply) => {
    const body = parseBody(bodySchema, request.body);
    checkName(body.model, name);
    const { rows, tokens } = await service.embed({
      texts: typeof body.input === 'string' ? [body.input] : body.input,
      promptName: body.prompt_name,
      dimensions: body.dimensions,
      truncate: body.truncate,
      signal: signalOf(reply),
    });
    return {
      object: 'list',
      data: rows.map((row, index) => ({
        object: 'embedding',
        index,
        embedding: encoded(row, body.encoding_format),
      })),
      model: name,
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    };
  });
}

function checkName(asked: string, name: string): void {
  if (asked !== name)
    throw new RequestError(
      `no model ${JSON.stringify(asked)}: this is ${JSON.stringify(name)}`,
      'not_found',
      'model',
    );
}

function openAiType(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}
