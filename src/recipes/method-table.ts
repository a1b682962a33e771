import { parsePrompt } from '../data/prompt-frame.js';
import type { AttentionMode } from '../models/schema.js';
import { layerWords } from '../pooling/layers.js';
import { methods, type Method } from '../pooling/methods.js';
import type { PoolingConfig } from '../pooling/schema.js';

/** Every method with what it does, its frame and its source: what `lmvec methods` prints. */
export function methodTable(): string {
  return [...methods].map(([name, method]) => entry(name, method)).join('\n');
}

function entry(name: string, method: Method): string {
  const frame = method.prompt === undefined ? undefined : parsePrompt(method.prompt).template;
  const facts = [
    `${method.pooling.type} of ${layerWords(method.pooling)}${routingWords(method.pooling)}`,
    ...(method.attention === undefined ? [] : [attentionWords(method.attention)]),
  ];
  return [
    name,
    `    ${method.description}`,
    ...(frame === undefined ? [] : [`    ${JSON.stringify(frame)}`]),
    `    ${facts.join('; ')}. ${method.source}`,
  ].join('\n');
}

function routingWords(pooling: PoolingConfig): string {
  const routing = 'routing' in pooling ? pooling.routing : undefined;
  return routing === undefined ? '' : `; routing ${routing.combine}`;
}

function attentionWords(attention: AttentionMode): string {
  return typeof attention === 'string' ? attention : `last ${attention.lastLayers} bidirectional`;
}
