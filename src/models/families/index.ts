import { nearest, shown, userError } from '../../shared/errors.js';
import type { DecoderConfig } from '../decoder-config.js';
import type { CheckpointNames } from '../weights/names.js';
import type { JsonObject } from '../weights/types.js';
import { deepseek } from './deepseek.js';
import type { Family } from './family.js';
import { llamaNames } from './llama-like.js';
import { llama } from './llama.js';
import { gemma, gemma2, gemma3 } from './gemma.js';
import { gpt2 } from './gpt2.js';
import { gptNeox } from './gpt-neox.js';
import { ministral, mistral } from './mistral.js';
import { mixtral } from './mixtral.js';
import { olmo2 } from './olmo2.js';
import { olmoe } from './olmoe.js';
import { opt } from './opt.js';
import { phi3 } from './phi3.js';
import { qwen2, qwen3 } from './qwen.js';
import { qwen2Moe } from './qwen2-moe.js';
import { qwen3Moe } from './qwen3-moe.js';
import { smollm3 } from './smollm3.js';
import { bert, roberta, xlmRoberta } from './bert.js';
import { modernBert } from './modernbert.js';
import { word2vec } from './word2vec.js';

/** Every family that can be loaded. A new one is one file and one line here. */
export const families: readonly Family[] = [
  llama,
  smollm3,
  mistral,
  ministral,
  qwen2,
  qwen3,
  gemma,
  gemma2,
  gemma3,
  phi3,
  olmo2,
  gpt2,
  gptNeox,
  opt,
  mixtral,
  qwen2Moe,
  qwen3Moe,
  olmoe,
  deepseek,
  bert,
  roberta,
  xlmRoberta,
  modernBert,
  word2vec,
];

/**
 * Reads the raw `config.json` (of transformers 4 or 5) of a decoder.
 *
 * @param where the file, for errors
 * @throws UserError naming an unsupported architecture and the nearest supported one, or every key that is missing or wrong
 */
export function parseDecoderConfig(raw: JsonObject, where: string): DecoderConfig {
  const type = raw['model_type'];
  const family = families.find(({ modelType }) => modelType === type);
  if (family !== undefined) return family.parse(raw, where);
  const supported = families.map(({ modelType }) => modelType);
  const near = typeof type === 'string' ? nearestFamily(type, supported) : 'llama';
  throw userError({
    what: 'unsupported model_type',
    where,
    got: type === undefined ? 'none' : shown(type),
    expected: supported.join(', '),
    hint: `the nearest supported family is ${near}`,
  });
}

/** The longest common beginning decides (qwen2_vl: qwen2), then the edit distance. */
function nearestFamily(type: string, supported: readonly string[]): string {
  const beginnings = supported.filter((name) => type.startsWith(name) || name.startsWith(type));
  const longest = [...beginnings].sort((a, b) => b.length - a.length)[0];
  return longest ?? nearest(type, supported) ?? 'llama';
}

/** config.json of the same decoder with a bias on every matrix of its blocks; undefined where transformers has no words for that. */
export function configWithBiases(raw: JsonObject): JsonObject | undefined {
  const keys = families.find(({ modelType }) => modelType === raw['model_type'])?.biasKeys;
  return keys === undefined ? undefined : { ...raw, ...Object.fromEntries(keys.map((key) => [key, true])) };
}

/** How a checkpoint names its weights, from its config.json; Llama's way where the family is not known. */
export function checkpointNames(raw: JsonObject): CheckpointNames {
  const names = families.find(({ modelType }) => modelType === raw['model_type'])?.names ?? llamaNames;
  const tied = raw['tie_word_embeddings'];
  return { ...names, tied: typeof tied === 'boolean' ? tied : names.tied };
}
