import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { arch, cpus, platform, totalmem } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { readJsonFile } from '../models/weights/json-file.js';
import { userError } from '../shared/errors.js';
import { writeFileAtomic } from '../shared/files.js';
import { packageVersions } from '../shared/package.js';

const inputSchema = z.object({ path: z.string(), bytes: z.number(), sha256: z.string() });
/** A file that went into a run. */
export type InputFile = Readonly<z.output<typeof inputSchema>>;

const recordSchema = z.object({
  status: z.enum(['running', 'interrupted', 'finished']),
  lmvec: z.string(),
  dependencies: z.record(z.string(), z.string()),
  node: z.string(),
  machine: z.object({
    platform: z.string(),
    cpu: z.string(),
    cores: z.number(),
    memoryBytes: z.number(),
  }),
  seed: z.number(),
  startedAt: z.string(),
  finishedAt: z.string().exactOptional(),
  /** The model's and the data's files. */
  inputs: z.array(inputSchema).readonly(),
  /** Texts that were left out because an evaluation set has them, and those that were kept. */
  texts: z.object({ kept: z.number(), decontaminated: z.number() }),
  /** The same of the sets of examples, by name. */
  examples: z
    .record(z.string(), z.object({ kept: z.number(), decontaminated: z.number(), notChosen: z.number() }))
    .exactOptional(),
  /** Stages that are done, in their order, with their steps. */
  stages: z.array(z.object({ name: z.string(), objective: z.string(), steps: z.number() })).readonly(),
  resumed: z.array(z.object({ at: z.string(), stage: z.string(), step: z.number() })).readonly(),
});
/** What ran, on what, with what: written before the first step, and kept up to date. */
export type RunRecord = Readonly<z.output<typeof recordSchema>>;

export function newRunRecord({
  seed,
  inputs,
  texts,
  examples,
}: Pick<RunRecord, 'seed' | 'inputs' | 'texts'> & {
  readonly examples?: RunRecord['examples'] | undefined;
}): RunRecord {
  return {
    status: 'running',
    ...packageVersions(),
    node: process.version,
    machine: {
      platform: `${platform()} ${arch()}`,
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
    },
    startedAt: new Date().toISOString(),
    stages: [],
    resumed: [],
    seed,
    inputs,
    texts,
    ...(examples === undefined ? {} : { examples }),
  };
}

export async function writeRunRecord(path: string, record: RunRecord): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(record, null, 2)}\n`);
}

/** The record of an earlier start of the run; undefined where it stopped before it was written. @throws UserError where it is broken */
export async function readRunRecord(path: string): Promise<RunRecord | undefined> {
  const json = await readJsonFile(path);
  if (json === undefined) return undefined;
  const parsed = recordSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [problem] = parsed.error.issues;
  throw userError({
    what: 'broken run record',
    where: path,
    got: `${problem?.path.join('.') ?? ''}: ${problem?.message ?? ''}`,
    hint: 'start again with --overwrite',
  });
}

/** A file beside a model's that may be there or not: notes, pictures, what other tools put there. */
const noMatter = /(^|[/\\])\.|\.(md|py|png|jpe?g|gif|svg|bin|onnx|onnx_data|h5|msgpack|ot)$/i;

/**
 * A run that goes on with another model or other texts would be neither the one that was started nor a new one.
 * @throws UserError naming the first file that is not what it was
 */
export function checkSameInputs(before: readonly InputFile[], now: readonly InputFile[]): void {
  const changed = (of: readonly InputFile[], beside: readonly InputFile[]): InputFile | undefined =>
    of.find(({ path, sha256 }) => !noMatter.test(path) && !beside.some((other) => other.sha256 === sha256));
  const [gone, added] = [changed(before, now), changed(now, before)];
  const one = gone ?? added;
  if (one === undefined) return;
  throw userError({
    what: 'this is not what the run was started with, so it cannot go on',
    where: one.path,
    got: gone === undefined ? 'a file that was not there' : 'other content, or none',
    hint: 'put it back as it was, or begin a new run',
  });
}

/** Size and SHA-256 of a file, or of the files directly in a folder. */
export async function hashInputs(path: string): Promise<InputFile[]> {
  const stats = await stat(path);
  if (!stats.isDirectory()) return [{ path, bytes: stats.size, sha256: await sha256(path) }];
  const files: InputFile[] = [];
  for (const name of (await readdir(path)).sort()) {
    // In the cache of the hub the files are links.
    const isFile = await stat(join(path, name)).then(
      (entry) => entry.isFile(),
      () => false,
    );
    if (isFile) files.push(...(await hashInputs(join(path, name))));
  }
  return files;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
