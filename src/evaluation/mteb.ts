import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { internalError } from '../shared/errors.js';
import { writeFileAtomic } from '../shared/files.js';
import type { EvalResult } from './evaluate.js';
import { similarities } from './similarity.js';

/** What `model_meta.json` says of the model. Unknown facts stay away and are written as null. */
export interface ModelMeta {
  /** `organisation/model`; without an organisation it is filed under `lmvec`. */
  readonly name: string;
  /** Names this state of the model: a commit, or a hash of its weights. */
  readonly revision: string;
  readonly parameters?: number;
  readonly embeddingDimensions?: number;
  readonly maxTokens?: number;
  readonly license?: string;
  /** Anything else worth keeping: attention, pooling, prompt, lineage. */
  readonly lmvec?: Readonly<Record<string, unknown>>;
}

/** Names and data revisions of the sets in MTEB (English STS; its task files of version 2). */
const mtebTasks: Readonly<Record<string, { readonly name: string; readonly revision: string }>> = {
  STS12: { name: 'STS12', revision: 'a0d554a64d88156834ff5ae9920b964011b16384' },
  STS13: { name: 'STS13', revision: '7e90230a92c190f1bf69ae9002b8cea547a64cca' },
  STS14: { name: 'STS14', revision: '6031580fec1f6af667f0bd2da0a551cf4f0b2375' },
  STS15: { name: 'STS15', revision: 'ae752c7c21bf194d8b67fd573edf7ae58183cbe3' },
  STS16: { name: 'STS16', revision: '4d8694f8f0e0100860b497b999b3dbed754a0513' },
  STSb: { name: 'STSBenchmark', revision: 'b0fddb56ed78048fa8b90373c8a3cfc37b684831' },
  'SICK-R': { name: 'SICK-R', revision: '20a6d6f312dd54037fe07a32d58e5e168867909d' },
};

/**
 * Writes `<folder>/<org>__<model>/<revision>/<Task>.json` and `model_meta.json` as MTEB lays them out, each file atomically.
 * Results of another protocol than MTEB's go to `<revision>-senteval` (or `-file`), so that no number is mistaken for
 * another. Other splits of the same data that a file already holds are kept. Returns the paths of the task files.
 */
export async function writeMtebResults(options: {
  readonly folder: string;
  readonly model: ModelMeta;
  readonly results: readonly EvalResult[];
}): Promise<string[]> {
  const { folder, model, results } = options;
  const byPath = new Map<string, EvalResult[]>();
  for (const result of results) {
    const path = join(folder, ...modelFolder(model, result), `${pathPart(mtebTask(result).name)}.json`);
    byPath.set(path, [...(byPath.get(path) ?? []), result]);
  }
  for (const [path, ofTask] of byPath) {
    const fresh = taskJson(ofTask);
    await writeJson(path, { ...fresh, scores: { ...(await splitsKept(path, fresh)), ...fresh.scores } });
  }
  const folders = new Map(results.map((result) => [modelFolder(model, result).join('/'), result]));
  for (const result of folders.values()) {
    await writeJson(join(folder, ...modelFolder(model, result), 'model_meta.json'), modelJson(model, result));
  }
  return [...byPath.keys()];
}

interface TaskJson {
  readonly task_name: string;
  readonly dataset_revision: string;
  readonly mteb_version: null;
  readonly scores: Readonly<Record<string, unknown>>;
  readonly evaluation_time: number;
  readonly kg_co2_emissions: null;
  readonly protocol: EvalResult['protocol'];
}

/** The content of one task file. `mteb_version` is null (which MTEB's reader takes): MTEB did not make these numbers. */
export function taskJson(results: readonly EvalResult[]): TaskJson {
  const [first] = results;
  if (first === undefined) throw internalError('a task file without results');
  const { name, revision } = mtebTask(first);
  return {
    task_name: name,
    dataset_revision: revision,
    mteb_version: null,
    scores: Object.fromEntries(results.map((result) => [result.split, [scoreJson(result)]])),
    evaluation_time: results.reduce((sum, result) => sum + result.seconds, 0),
    kg_co2_emissions: null,
    protocol: first.protocol,
  };
}

/** Correlations in [-1, 1], as MTEB writes them; null where undefined. `spearman` and `pearson` are the cosine's. */
function scoreJson(result: EvalResult): Record<string, unknown> {
  const correlations = similarities.flatMap((similarity) => [
    [`${similarity}_spearman`, orNull(result.spearman[similarity])],
    [`${similarity}_pearson`, orNull(result.pearson[similarity])],
  ]);
  return {
    main_score: orNull(result.mainScore),
    ...(Object.fromEntries(correlations) as Record<string, number | null>),
    spearman: orNull(result.spearman.cosine),
    pearson: orNull(result.pearson.cosine),
    hf_subset: 'default',
    languages: ['eng-Latn'],
    protocol: result.protocol,
    pairs: result.pairs,
    every_nth_row: result.everyNthRow,
    ...(result.prompt === undefined ? {} : { prompt_name: result.prompt }),
    data_sha256: result.sha256,
    ...(result.interval === undefined
      ? {}
      : {
          cosine_spearman_interval_95: [result.interval.low, result.interval.high],
          bootstrap_resamples: result.interval.resamples,
        }),
    ...(result.subsets.length === 0
      ? {}
      : {
          cosine_spearman_by_subset: Object.fromEntries(
            result.subsets.map(({ name, spearman }) => [name, orNull(spearman)]),
          ),
        }),
  };
}

/** The revision is MTEB's only where the text is MTEB's and whole; otherwise it names what was read instead. */
function mtebTask({ task, protocol, everyNthRow, sha256 }: EvalResult): { name: string; revision: string } {
  const known = protocol === 'file' ? undefined : mtebTasks[task];
  const rows = everyNthRow === 1 ? '' : `-every-${String(everyNthRow)}-rows`;
  if (known === undefined) return { name: task, revision: `sha256-${sha256.slice(0, 40)}${rows}` };
  return {
    name: known.name,
    revision: `${known.revision}${protocol === 'mteb' ? '' : `-${protocol}`}${rows}`,
  };
}

function modelFolder({ name, revision }: ModelMeta, { protocol }: EvalResult): [string, string] {
  const [organisation, model] = organisationAndModel(name);
  return [`${pathPart(organisation)}__${pathPart(model)}`, pathPart(revisionOf(revision, protocol))];
}

function organisationAndModel(name: string): [string, string] {
  const parts = name.split('/').filter((part) => part !== '');
  return [parts.length > 1 ? (parts.at(-2) as string) : 'lmvec', parts.at(-1) ?? 'model'];
}

function revisionOf(revision: string, protocol: EvalResult['protocol']): string {
  return protocol === 'mteb' ? revision : `${revision}-${protocol}`;
}

/** A name as one folder or file name: no separators, no leading dot. */
function pathPart(name: string): string {
  const safe = name.replace(/[^A-Za-z0-9._-]/g, '_').replace(/^\.+/, '');
  return safe === '' ? '_' : safe.slice(0, 120);
}

function modelJson(model: ModelMeta, { protocol }: EvalResult): Record<string, unknown> {
  return {
    name: organisationAndModel(model.name).join('/'),
    revision: revisionOf(model.revision, protocol),
    release_date: null,
    languages: ['eng-Latn'],
    n_parameters: model.parameters ?? null,
    memory_usage_mb: null,
    max_tokens: model.maxTokens ?? null,
    embed_dim: model.embeddingDimensions ?? null,
    license: model.license ?? null,
    open_weights: null,
    public_training_code: null,
    public_training_data: null,
    framework: ['ONNX'],
    reference: null,
    similarity_fn_name: 'cosine',
    use_instructions: null,
    training_datasets: null,
    modalities: ['text'],
    loader: null,
    // MTEB's reader refuses keys that it does not know; this one is free.
    loader_kwargs: { protocol, ...model.lmvec },
  };
}

/** Splits that an older file of the same data holds; nothing where it is another's or not readable. */
async function splitsKept(path: string, fresh: TaskJson): Promise<Record<string, unknown>> {
  try {
    const old = JSON.parse(await readFile(path, 'utf8')) as Partial<TaskJson> | null;
    const same = old?.task_name === fresh.task_name && old.dataset_revision === fresh.dataset_revision;
    return same && typeof old.scores === 'object' && !Array.isArray(old.scores) ? old.scores : {};
  } catch {
    return {};
  }
}

async function writeJson(path: string, content: unknown): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(content, undefined, 2)}\n`);
}

function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}
