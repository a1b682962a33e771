import { join } from 'node:path';
import { shown, userError } from '../../shared/errors.js';
import { exists, writeFileAtomic } from '../../shared/files.js';
import { checkFinite } from './finite.js';
import type { MatrixLayout } from '../decoder-config.js';
import { llamaNames } from '../families/llama-like.js';
import { readJsonFile } from './json-file.js';
import { refuseLinksOut } from './links.js';
import { canonicalName, type CheckpointNames } from './names.js';
import { writeSafetensors, type TensorToWrite } from './safetensors-writer.js';
import { openSafetensors } from './safetensors.js';
import type { JsonObject } from './types.js';

/** A LoRA adapter: W' = W + (alpha / rank) * B A. */
export interface Adapter {
  readonly rank: number;
  readonly alpha: number;
  readonly dropout: number;
  /** Names of the adapted matrices inside a layer: `q_proj`, `down_proj` ... */
  readonly targetModules: readonly string[];
  /** Folder or hub name of the model that it belongs to; empty where unknown. */
  readonly baseModel: string;
  /** Commit or branch of a base on the hub. */
  readonly revision?: string;
  /** What peft makes of the base: a causal language model (default), or the decoder alone, whose names of tensors have no `model.` in front. */
  readonly taskType?: 'CAUSAL_LM' | 'FEATURE_EXTRACTION';
  /** How the base model stores its matrices (default [out, in]): peft calls [in, out] `fan_in_fan_out`. */
  readonly layout?: MatrixLayout;
  /** `model.layers.N.self_attn.q_proj.lora_A.weight` [rank, in] and `...lora_B.weight` [out, rank]. */
  readonly tensors: ReadonlyMap<string, Float32Array>;
}

const weightsFile = 'adapter_model.safetensors';
const configFile = 'adapter_config.json';
const prefix = 'base_model.model.';
const tensorName = /^(.*\.(\w+))\.lora_([AB])\.weight$/;

/** Writes adapter_model.safetensors (F32) and adapter_config.json as Python's peft does. The folder is made where it is missing. */
export async function writeAdapter(folder: string, adapter: Adapter): Promise<void> {
  const { rank } = adapter;
  const tensors = [...adapter.tensors].sort(([a], [b]) => (a < b ? -1 : 1));
  const list = tensors.map(([name, data]): TensorToWrite => {
    const other = data.length / rank;
    const shape = name.endsWith('.lora_A.weight') ? [rank, other] : [other, rank];
    return { name: prefix + name, shape, storedType: 'F32', data };
  });
  await writeSafetensors(join(folder, weightsFile), list);
  const config = {
    peft_type: 'LORA',
    task_type: adapter.taskType ?? 'CAUSAL_LM',
    base_model_name_or_path: adapter.baseModel,
    revision: adapter.revision ?? null,
    inference_mode: true,
    r: rank,
    lora_alpha: adapter.alpha,
    lora_dropout: adapter.dropout,
    target_modules: [...adapter.targetModules],
    bias: 'none',
    fan_in_fan_out: adapter.layout === 'inOut',
    init_lora_weights: true,
    layers_to_transform: null,
    layers_pattern: null,
    modules_to_save: null,
    rank_pattern: {},
    alpha_pattern: {},
    use_rslora: false,
    use_dora: false,
  };
  await writeFileAtomic(join(folder, configFile), `${JSON.stringify(config, null, 2)}\n`);
}

/** Which decoder an adapter is to fit. */
export interface AdapterBase {
  readonly names: Pick<CheckpointNames, 'prefix' | 'parts' | 'own'>;
  readonly layout: MatrixLayout;
}

/** Reads a LoRA adapter that peft or `writeAdapter` wrote. @throws UserError for another kind of adapter and for tensors that do not fit. */
export async function readAdapter(
  folder: string,
  base: AdapterBase = { names: llamaNames, layout: 'outIn' },
): Promise<Adapter> {
  const where = join(folder, configFile);
  if (await exists(folder)) await refuseLinksOut(folder);
  const config = await readJsonFile(where);
  if (config === undefined)
    throw userError({ what: 'not an adapter folder', where: folder, got: `no ${configFile}` });
  refuseOtherKinds(config, base, where);
  const rank = config['r'];
  if (typeof rank !== 'number' || !Number.isSafeInteger(rank) || rank < 1) {
    throw userError({
      what: 'key r does not fit',
      where,
      got: shown(rank),
      expected: 'a whole number of at least 1',
    });
  }
  const alpha = numberOf(config, 'lora_alpha', where) ?? 8;
  const dropout = numberOf(config, 'lora_dropout', where) ?? 0;
  const baseModel = config['base_model_name_or_path'];
  const tensors = await readTensors(join(folder, weightsFile), rank, base.names);
  // The config may name its targets by a regular expression; the tensors say what is adapted.
  const targetModules = [
    ...new Set([...tensors.keys()].map((name) => tensorName.exec(name)?.[2] ?? '')),
  ].sort();
  return {
    rank,
    alpha,
    dropout,
    targetModules,
    baseModel: typeof baseModel === 'string' ? baseModel : '',
    tensors,
  };
}

/** Variants whose mathematics is another, by their key in adapter_config.json; each is off in a plain LoRA. */
const variants = [
  'use_dora',
  'use_rslora',
  'use_qalora',
  'use_bdlora',
  'lora_bias',
  'modules_to_save',
  'rank_pattern',
  'alpha_pattern',
  'layer_replication',
  'trainable_token_indices',
  'target_parameters',
  'alora_invocation_tokens',
  'megatron_config',
];

function refuseOtherKinds(config: JsonObject, { layout }: AdapterBase, where: string): void {
  const kind = config['peft_type'];
  if (kind !== 'LORA')
    throw userError({
      what: 'this kind of adapter is not supported',
      where,
      got: shown(kind),
      expected: '"LORA"',
    });
  const bias = config['bias'] ?? 'none';
  if (bias !== 'none')
    throw userError({
      what: 'key bias is not supported',
      where,
      got: shown(bias),
      expected: '"none"',
    });
  if (config['fan_in_fan_out'] === true && layout === 'outIn')
    throw userError({
      what: 'key fan_in_fan_out does not fit the model',
      where,
      got: 'true',
      expected: 'false, as its matrices are [out, in]',
    });
  for (const key of variants) {
    const value = config[key];
    const off =
      value === undefined ||
      value === null ||
      value === false ||
      (typeof value === 'object' && Object.keys(value).length === 0);
    if (!off)
      throw userError({
        what: `key ${key} is not supported`,
        where,
        got: shown(value),
        expected: 'a plain LoRA',
      });
  }
}

function numberOf(config: JsonObject, key: string, where: string): number | undefined {
  const value = config[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw userError({
      what: `key ${key} does not fit`,
      where,
      got: shown(value),
      expected: 'a number',
    });
  }
  return value;
}

async function readTensors(
  path: string,
  rank: number,
  names: AdapterBase['names'],
): Promise<Map<string, Float32Array>> {
  const store = await openSafetensors(path);
  try {
    const tensors = new Map<string, Float32Array>();
    for (const stored of store.names) {
      const name = stored.startsWith(prefix) ? canonicalName(stored.slice(prefix.length), names) : undefined;
      const side = tensorName.exec(name ?? '')?.[3];
      if (name === undefined || side === undefined) {
        throw userError({
          what: `tensor ${stored} is not part of a LoRA`,
          where: path,
          expected: `${prefix}...lora_A.weight or lora_B.weight`,
        });
      }
      const shape = store.info(stored)?.shape ?? [];
      if (shape.length !== 2 || shape[side === 'A' ? 0 : 1] !== rank) {
        throw userError({
          what: `tensor ${stored} does not fit`,
          where: path,
          got: `shape [${shape.join(', ')}]`,
          expected: `rank ${rank}`,
        });
      }
      const data = await store.read(stored);
      checkFinite({ length: data.length, pieces: [data] }, stored, path);
      tensors.set(name, data);
    }
    for (const name of tensors.keys()) {
      const twin = name.replace(
        /lora_([AB])\.weight$/,
        (_, side) => `lora_${side === 'A' ? 'B' : 'A'}.weight`,
      );
      if (!tensors.has(twin)) throw userError({ what: `tensor ${prefix}${twin} is missing`, where: path });
    }
    return tensors;
  } finally {
    await store.close();
  }
}
