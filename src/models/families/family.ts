import type { z } from 'zod';
import { shown, userError } from '../../shared/errors.js';
import type { DecoderConfig } from '../decoder-config.js';
import type { CheckpointNames } from '../weights/names.js';
import type { JsonObject } from '../weights/types.js';

/** One `model_type` of transformers. */
export interface Family {
  readonly modelType: string;
  /** Released models, for the support table. */
  readonly models: string;
  /** What sets it apart, for the support table. */
  readonly special: string;
  /** `general.architecture` where it can be read from GGUF. */
  readonly gguf?: string;
  readonly names: CheckpointNames;
  /** Keys of config.json with which transformers has a bias on every matrix of the blocks; left out where it cannot. */
  readonly biasKeys?: readonly string[];
  /**
   * @param where the file, for errors
   * @throws UserError naming every key that is missing, wrong or not supported
   */
  parse(raw: JsonObject, where: string): DecoderConfig;
}

/** A family from the schema of its config.json and what that means to the shared parts. */
export function defineFamily<Config>({
  schema,
  prepare = (raw) => raw,
  describe,
  ...facts
}: Omit<Family, 'parse'> & {
  /** The keys that change what is computed, with transformers' defaults; null counts as absent unless the schema takes it. */
  readonly schema: z.ZodType<Config>;
  /** Brings older spellings into the schema's form. */
  readonly prepare?: (raw: JsonObject) => JsonObject;
  readonly describe: (config: Config) => Omit<DecoderConfig, 'model_type'>;
}): Family {
  return {
    ...facts,
    parse: (raw, where) => {
      refuseQuantised(raw, where);
      const prepared = prepare(withoutNull(raw));
      const parsed = schema.safeParse(prepared);
      if (!parsed.success) {
        const problems = parsed.error.issues.map(({ path, message }) => {
          const value = path.reduce<unknown>(
            (part, key) => (part as JsonObject | undefined)?.[String(key)],
            prepared,
          );
          const given = value === undefined || typeof value === 'object' ? '' : ` ${JSON.stringify(value)}`;
          return `${path.join('.')}${given}: ${message}`;
        });
        throw userError({
          what: `unusable configuration of a ${facts.modelType} model`,
          where,
          got: problems.join('; '),
        });
      }
      const config = { model_type: facts.modelType, ...describe(parsed.data) };
      checkSizes(config, where);
      checkLayerLists(prepared, config.num_hidden_layers, where);
      return config;
    },
  };
}

/** Keys where null means that there is none, not that it is left out. */
const NULL_IS_NONE = ['sliding_window', 'final_logit_softcapping', 'attn_logit_softcapping'];

function withoutNull(raw: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(raw).filter(([key, value]) => value !== null || NULL_IS_NONE.includes(key)),
  );
}

/** Weights of GPTQ, AWQ and their kin have other tensors, which nothing here expands. */
function refuseQuantised(raw: JsonObject, where: string): void {
  const quantised = raw['quantization_config'];
  if (quantised === undefined || quantised === null) return;
  throw userError({
    what: 'quantization_config is not supported',
    where,
    got: shown((quantised as JsonObject)['quant_method'] ?? quantised),
    hint: 'take the model in float16 or bfloat16, or as GGUF',
  });
}

/** Lists with an entry for each layer; `no_rope_layers` may be longer. */
function checkLayerLists(config: JsonObject, layers: number, where: string): void {
  for (const key of ['layer_types', 'no_rope_layers']) {
    const list = config[key];
    if (!Array.isArray(list) || list.length >= layers) continue;
    throw userError({
      what: `${key} is too short`,
      where,
      got: String(list.length),
      expected: String(layers),
    });
  }
}

function checkSizes(config: DecoderConfig, where: string): void {
  const { num_attention_heads: heads, num_key_value_heads: keyHeads } = config;
  if (heads % keyHeads !== 0) {
    throw userError({
      what: 'num_attention_heads is not a multiple of num_key_value_heads',
      where,
      got: `${heads} and ${keyHeads}`,
    });
  }
  for (const { feedForward } of config.structures) {
    if (feedForward.kind === 'experts' && feedForward.perToken > feedForward.count) {
      throw userError({
        what: 'more experts for a token than there are',
        where,
        got: `num_experts_per_tok ${feedForward.perToken}`,
        expected: `at most ${feedForward.count}`,
      });
    }
  }
  for (const rope of Object.values(config.ropes)) {
    const factors = rope.rope_type === 'longrope' ? [rope.long_factor, rope.short_factor] : [];
    if (factors.every(({ length }) => length === rope.dims / 2)) continue;
    throw userError({
      what: 'the factors of the rotary scaling do not fit the heads',
      where,
      got: factors.map(({ length }) => length).join(' and '),
      expected: `${rope.dims / 2} each`,
    });
  }
}
