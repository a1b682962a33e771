import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { packageVersions } from '../shared/package.js';
import { parseBody, refusalOf, RequestError } from './answers.js';
import { encoded } from './numbers.js';
import type { EmbeddingService } from './service.js';
import { signalOf } from './signal.js';

const bodySchema = z.strictObject({
  inputs: z.union([z.string(), z.array(z.string())], 'expected a text or a list of texts'),
  normalize: z.boolean().default(true),
  truncate: z.boolean().optional(),
  truncation_direction: z.enum(['Left', 'Right']).default('Right'),
  prompt_name: z.string().nullish(),
  dimensions: z.int().min(1).nullish(),
});

/** The API of Hugging Face's text-embeddings-inference: `POST /embed`, `GET /info`. */
export function teiRoutes(app: FastifyInstance, service: EmbeddingService): void {
  const { name, embedder, batchTokens, requestTexts, queueTexts, truncate } = service.options;

  app.setErrorHandler((error, request, reply) => {
    const { status, message, type } = refusalOf(error);
    if (status >= 500) request.log.error(error);
    return reply.status(status).send({ error: message, error_type: type });
  });

  app.get('/info', () => ({
    model_id: name,
    model_sha: null,
    model_dtype: embedder.file?.format ?? 'float32',
    model_type: { embedding: { pooling: embedder.recipe.pooling.type } },
    max_input_length: embedder.recipe.maxTokens,
    max_batch_tokens: batchTokens,
    max_client_batch_size: requestTexts,
    max_concurrent_requests: queueTexts,
    auto_truncate: truncate,
    prompts: Object.keys(embedder.recipe.prompts ?? {}),
    version: packageVersions().lmvec,
  }));
  app.post('/embed', async (request, reply) => {
    const body = parseBody(bodySchema, request.body);
    if (!body.normalize)
      throw new RequestError('normalize: this server gives unit vectors only', 'tokenizer');
    if (body.truncation_direction === 'Left')
      throw new RequestError('truncation_direction: a text loses its end (Right) here', 'tokenizer');
    const { rows } = await service.embed({
      texts: typeof body.inputs === 'string' ? [body.inputs] : body.inputs,
      promptName: body.prompt_name ?? undefined,
      dimensions: body.dimensions ?? undefined,
      truncate: body.truncate,
      signal: signalOf(reply),
    });
    return rows.map((row) => encoded(row, 'float'));
  });
}
