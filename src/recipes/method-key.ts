import { z } from 'zod';
import type { PromptConfig } from '../data/schema.js';
import type { AttentionMode, WindowMode } from '../models/schema.js';
import { methods, type Method } from '../pooling/methods.js';
import type { PoolingConfig } from '../pooling/schema.js';
import { nearest } from '../shared/errors.js';

/** A method by its name: attention, pooling and prompt in one word. */
export const methodKeySchema = z.string().superRefine((name, context) => {
  if (methods.has(name)) return;
  const near = nearest(name, methods.keys());
  const message = `one of ${[...methods.keys()].join(', ')}${near === undefined ? '' : ` (did you mean ${near}?)`}`;
  context.addIssue({ code: 'custom', message, input: name });
});

/** What a run says of the way it embeds: what is undefined is left to its method, or to the defaults. */
export interface StatedWay {
  readonly method?: string | undefined;
  readonly attention?: AttentionMode | undefined;
  readonly window?: WindowMode | undefined;
  readonly pooling?: PoolingConfig | undefined;
  readonly prompt?: PromptConfig | undefined;
}

/** Keys beside `method` that say something else than it does, with what they would have to say. */
export function contradictions(
  stated: StatedWay,
): readonly { readonly key: string; readonly expected: string; readonly got: unknown }[] {
  const method = stated.method === undefined ? undefined : methods.get(stated.method);
  if (method === undefined) return [];
  const expected = (value: string): string => `${value}, as method ${stated.method} has it, or nothing`;
  const found: { key: string; expected: string; got: unknown }[] = [];
  const { attention, pooling, prompt } = stated;
  if (attention !== undefined && method.attention !== undefined && !same(attention, method.attention))
    found.push({ key: 'attention', expected: expected(JSON.stringify(method.attention)), got: attention });
  if (pooling !== undefined && !same(wayOf(pooling), wayOf(method.pooling)))
    found.push({ key: 'pooling', expected: expected(JSON.stringify(wayOf(method.pooling))), got: pooling });
  if (prompt !== undefined && frameOf(prompt) !== frameOf(method.prompt ?? '{text}'))
    found.push({ key: 'prompt', expected: expected(frameOf(method.prompt ?? '{text}')), got: prompt });
  return found;
}

/** A run's own words, then its method's, then the defaults: bidirectional mean pooling, or a decoder's own attention where a method is named. */
export function completeWay(stated: StatedWay): {
  readonly attention: AttentionMode;
  readonly window: WindowMode;
  readonly pooling: PoolingConfig;
  readonly prompt?: PromptConfig;
} {
  const method: Method | undefined = stated.method === undefined ? undefined : methods.get(stated.method);
  const prompt = stated.prompt ?? method?.prompt;
  return {
    attention: stated.attention ?? method?.attention ?? (method === undefined ? 'bidirectional' : 'causal'),
    window: stated.window ?? method?.window ?? 'keep',
    pooling: stated.pooling ?? method?.pooling ?? { type: 'mean', layer: -1 },
    ...(prompt === undefined ? {} : { prompt }),
  };
}

/** What a method says of a pooling: a head, say, may stand beside it. */
function wayOf(pooling: PoolingConfig): Record<string, unknown> {
  const { type, layer } = pooling;
  const routing = 'routing' in pooling ? pooling.routing : undefined;
  return { type, layer, ...(routing === undefined ? {} : { routing }) };
}

/** The same frame with another task is no contradiction. */
function frameOf(prompt: PromptConfig): string {
  return typeof prompt === 'string' ? prompt : prompt.frame;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
