import type { z } from 'zod';
import { TextTooLongError } from '../data/prompts.js';
import { shown, UserError } from '../shared/errors.js';
import { OverloadedError } from './batcher.js';

/** Why a request is not answered, by the words of text-embeddings-inference. */
export type ErrorType =
  | 'validation' // the request is larger than the server takes
  | 'tokenizer' // it cannot be made into tokens
  | 'overloaded'
  | 'unauthorized'
  | 'not_found'
  | 'backend';

/** A request that is refused. */
export class RequestError extends Error {
  constructor(
    message: string,
    readonly type: ErrorType,
    /** The key of the body that it is about. */
    readonly param?: string,
  ) {
    super(message);
  }
}

/** An error as a status and a sentence; `undefined` where it is a bug of ours, which the asker hears nothing of. */
export interface Refusal {
  readonly status: number;
  readonly type: ErrorType;
  readonly message: string;
  readonly param?: string;
}

const statuses: Readonly<Record<ErrorType, number>> = {
  validation: 413,
  tokenizer: 422,
  overloaded: 429,
  unauthorized: 401,
  not_found: 404,
  backend: 500,
};

/** What an error says to the asker. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof RequestError)
    return {
      status: statuses[error.type],
      type: error.type,
      message: error.message,
      ...(error.param === undefined ? {} : { param: error.param }),
    };
  const type = typeOf(error);
  if (type !== undefined) return { status: statuses[type], type, message: (error as Error).message };
  // fastify's own: a body that is too large, no JSON, of another type.
  const { statusCode, message } = error as { readonly statusCode?: number; readonly message?: string };
  if (statusCode !== undefined && statusCode < 500)
    return { status: statusCode, type: 'validation', message: message ?? 'the request cannot be read' };
  return { status: statusCode ?? 500, type: 'backend', message: 'the server failed; its log says why' };
}

function typeOf(error: unknown): ErrorType | undefined {
  if (error instanceof TextTooLongError) return 'validation';
  if (error instanceof OverloadedError) return 'overloaded';
  return error instanceof UserError ? 'tokenizer' : undefined;
}

/** A body as its schema has it. @throws RequestError saying what is wrong with it */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body, { reportInput: true });
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const key = issue?.path.join('.') ?? '';
  const got = issue?.code === 'unrecognized_keys' ? '' : `: got ${shown(issue?.input)}`;
  throw new RequestError(
    `${key === '' ? 'the body' : key}${got}: ${issue?.message ?? 'wrong'}`,
    'tokenizer',
    ...(key === '' ? [] : [key]),
  );
}
