import { join } from 'node:path';
import type { PromptConfig } from '../data/schema.js';
import { readJsonFile, readJsonList } from '../models/weights/json-file.js';
import { refuseLinksOut } from '../models/weights/links.js';
import { openSafetensors, type WeightStore } from '../models/weights/index.js';
import { renamedStore } from '../models/weights/names.js';
import { isJsonObject, type JsonObject } from '../models/weights/types.js';
import { shown, userError } from '../shared/errors.js';
import { exists } from '../shared/files.js';
import type { PoolingConfig } from './schema.js';

/** What a folder of sentence-transformers says about the way its model embeds. */
export interface ReleasedModules {
  readonly pooling: PoolingConfig;
  readonly maxTokens?: number;
  /** The frame of texts where none is named. */
  readonly prompt?: PromptConfig;
  readonly prompts?: Readonly<Record<string, PromptConfig>>;
}

interface Module {
  /** Last part of its class: Transformer, Pooling, Dense, Normalize. */
  readonly kind: string;
  readonly folder: string;
}

/** Modes of `1_Pooling`: the key of each in older versions (6 and later have one key `pooling_mode`), and our pooling. */
const modes = {
  cls: { key: 'pooling_mode_cls_token', type: 'first' },
  mean: { key: 'pooling_mode_mean_tokens', type: 'mean' },
  max: { key: 'pooling_mode_max_tokens', type: undefined },
  mean_sqrt_len_tokens: { key: 'pooling_mode_mean_sqrt_len_tokens', type: undefined },
  weightedmean: { key: 'pooling_mode_weightedmean_tokens', type: 'weightedMean' },
  lasttoken: { key: 'pooling_mode_lasttoken', type: 'last' },
} as const;

/**
 * Reads modules.json and what it names: pooling, a dense layer, the longest text, prompts. Undefined where the folder has none.
 *
 * @param end what the tokenizer puts behind every text, where that is not the preparer's business: a decoder's last token is pooled there
 * @throws UserError naming the first module that has no counterpart here
 */
export async function readReleasedModules(folder: string, end = ''): Promise<ReleasedModules | undefined> {
  const modules = await modulesOf(folder);
  if (modules === undefined) return undefined;
  const [pooling, ...rest] = modules.filter(({ kind }) => kind !== 'Transformer' && kind !== 'Normalize');
  const dense = rest[0]?.kind === 'Dense' ? rest[0] : undefined;
  const unknown = pooling?.kind === 'Pooling' ? rest[dense === undefined ? 0 : 1] : pooling;
  if (pooling === undefined || unknown !== undefined) {
    throw userError({
      what: 'this way to embed is not supported',
      where: join(folder, 'modules.json'),
      got: unknown === undefined ? 'no Pooling' : `${unknown.kind} in ${unknown.folder}`,
      expected: 'Transformer, Pooling, at most one Dense, Normalize',
      hint: 'give a pooling of your own to leave its modules out',
    });
  }
  const { type, promptIsPooled } = await releasedPoolingMode(join(pooling.folder, 'config.json'));
  const head = dense === undefined ? undefined : await headOf(join(dense.folder, 'config.json'));
  const maxTokens = await mostTokens(folder);
  return {
    pooling: { type, layer: -1, ...(head === undefined ? {} : { head }) },
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(await releasedPrompts(folder, {
      end: type === 'last' ? end : '',
      pool: promptIsPooled ? 'all' : 'text',
    })),
  };
}

/** The longest text that a folder names. Where it is said in versions before 6, and since. Tokenizers say 1e30 where they do not know. */
export async function mostTokens(folder: string): Promise<number | undefined> {
  const older = (await readJsonFile(join(folder, 'sentence_bert_config.json')))?.['max_seq_length'];
  const said = older ?? (await readJsonFile(join(folder, 'tokenizer_config.json')))?.['model_max_length'];
  return typeof said === 'number' && Number.isSafeInteger(said) && said > 1 ? said : undefined;
}

async function modulesOf(folder: string): Promise<readonly Module[] | undefined> {
  const where = join(folder, 'modules.json');
  const list = await readJsonList(where);
  const modules = list?.map((module): Module => {
    const { type, path } = isJsonObject(module) ? module : {};
    // Paths become parts of ours.
    if (typeof type !== 'string' || typeof path !== 'string' || !/^([A-Za-z0-9][\w-]*)?$/.test(path))
      throw userError({
        what: 'broken list of modules',
        where,
        got: shown(module),
        expected: 'type and path of each',
      });
    return { kind: type.slice(type.lastIndexOf('.') + 1), folder: join(folder, path) };
  });
  for (const module of modules ?? [])
    if (await exists(module.folder)) await refuseLinksOut(module.folder, folder);
  return modules;
}

/** What a `1_Pooling/config.json` says. @throws UserError where that is nothing that is done here, several modes at once too */
export async function releasedPoolingMode(
  where: string,
): Promise<{ readonly type: 'first' | 'mean' | 'weightedMean' | 'last'; readonly promptIsPooled: boolean }> {
  const config = (await readJsonFile(where)) ?? {};
  const on = Object.entries(modes).filter(
    ([mode, { key }]) => config[key] === true || config['pooling_mode'] === mode,
  );
  const [only] = on;
  const type = on.length === 1 ? only?.[1].type : undefined;
  if (type === undefined)
    throw userError({
      what: 'this pooling is not supported',
      where,
      got: on.length === 0 ? 'no mode' : on.map(([mode]) => mode).join(' and '),
      expected: 'one of cls, mean, weightedmean, lasttoken',
    });
  return { type, promptIsPooled: config['include_prompt'] !== false };
}

async function headOf(where: string): Promise<NonNullable<PoolingConfig['head']>> {
  const config = (await readJsonFile(where)) ?? {};
  const { out_features: dimensions, bias, activation_function: activation } = config;
  const known = { Tanh: 'tanh', Identity: 'none' } as const;
  const name = typeof activation === 'string' ? activation.slice(activation.lastIndexOf('.') + 1) : '';
  if (
    typeof dimensions !== 'number' ||
    !Number.isSafeInteger(dimensions) ||
    dimensions < 1 ||
    !(name in known)
  )
    throw userError({
      what: 'this Dense module is not supported',
      where,
      got: shown(config),
      expected: 'out_features, and Tanh or Identity as activation_function',
    });
  return { type: 'dense', dimensions, bias: bias !== false, activation: known[name as keyof typeof known] };
}

/** Prompts by name and the default one. What stands before a text here has no slots. */
export async function releasedPrompts(
  folder: string,
  { end = '', pool = 'all' }: { readonly end?: string; readonly pool?: 'all' | 'text' } = {},
): Promise<Pick<ReleasedModules, 'prompt' | 'prompts'>> {
  const config: JsonObject = (await readJsonFile(join(folder, 'config_sentence_transformers.json'))) ?? {};
  const given = isJsonObject(config['prompts']) ? config['prompts'] : {};
  const prompts = Object.fromEntries(
    Object.entries(given).flatMap(([name, before]): [string, PromptConfig][] =>
      typeof before === 'string' && !/[{}]/.test(before) && /^[A-Za-z][\w-]*$/.test(name)
        ? [[name, { frame: `${before}{text}${end}`, pool }]]
        : [],
    ),
  );
  const named = config['default_prompt_name'];
  const own = typeof named === 'string' && Object.hasOwn(prompts, named) ? prompts[named] : undefined;
  const prompt = own ?? (end === '' ? undefined : { frame: `{text}${end}`, pool });
  return {
    ...(prompt === undefined ? {} : { prompt }),
    ...(Object.keys(prompts).length === 0 ? {} : { prompts }),
  };
}

/** The trained matrix of the folder's dense layer under our names; undefined where it has none. @throws UserError where it cannot be read */
export async function openReleasedHead(folder: string): Promise<WeightStore | undefined> {
  const dense = (await modulesOf(folder))?.find(({ kind }) => kind === 'Dense');
  const path = join(dense?.folder ?? folder, 'model.safetensors');
  if (dense === undefined || !(await exists(path))) return undefined;
  const store = await openSafetensors(path);
  const ours = store.names.map((name) => [name.replace(/^linear\./, 'head.'), name] as const);
  return renamedStore(store, new Map(ours));
}

/** Special tokens that a tokenizer.json puts behind every text, as they are written. */
export function endOfTemplate(json: JsonObject): string {
  const processor = json['post_processor'];
  const parts =
    isJsonObject(processor) && Array.isArray(processor['processors']) ? processor['processors'] : [processor];
  const template = parts.filter(isJsonObject).find(({ type }) => type === 'TemplateProcessing');
  const single: readonly unknown[] = Array.isArray(template?.['single']) ? template['single'] : [];
  const text = single.findIndex((part) => isJsonObject(part) && 'Sequence' in part);
  return single
    .slice(text + 1)
    .map((part) => {
      const special = isJsonObject(part) ? part['SpecialToken'] : undefined;
      const id = isJsonObject(special) ? special['id'] : undefined;
      return typeof id === 'string' ? id : '';
    })
    .join('');
}
