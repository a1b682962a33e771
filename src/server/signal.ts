import type { FastifyReply } from 'fastify';

/** Fires when the client is gone before its answer. */
export function signalOf(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableEnded) controller.abort(new Error('the client is gone'));
  });
  return controller.signal;
}
