import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { loadConfig } from '../config/load.js';
import { userError, type UserError } from '../shared/errors.js';
import { exists, statOrUserError } from '../shared/files.js';
import { lockFolder, unlockFolder } from './lock.js';
import { runSchema, type RunConfig } from './schema.js';

/** Where everything of a run lies. */
export interface RunPaths {
  readonly folder: string;
  readonly config: string;
  readonly record: string;
  readonly metrics: string;
  readonly report: string;
  readonly results: string;
  readonly best: string;
  readonly last: string;
  readonly checkpoints: string;
  readonly embedder: string;
}

/** A run folder that this process alone writes to. */
export interface RunFolder {
  readonly paths: RunPaths;
  /** Gives the lock back. */
  close(): Promise<void>;
}

const resolvedName = 'config.resolved.yaml';

export function runPaths(folder: string): RunPaths {
  return {
    folder,
    config: join(folder, resolvedName),
    record: join(folder, 'run.json'),
    metrics: join(folder, 'metrics.jsonl'),
    report: join(folder, 'report.html'),
    results: join(folder, 'results'),
    best: join(folder, 'best'),
    last: join(folder, 'last'),
    checkpoints: join(folder, 'checkpoints'),
    embedder: join(folder, 'embedder'),
  };
}

/**
 * Says early, before anything expensive, whether `createRunFolder` would refuse.
 * @throws UserError where the folder exists and may not be replaced, or is not a run folder.
 */
export async function checkNewRunFolder(folder: string, overwrite: boolean): Promise<void> {
  if (!(await exists(folder))) return;
  if (!overwrite) throw outputExists(folder);
  if (!(await isRunFolder(folder)))
    throw userError({
      what: 'the output folder was not made by lmvec train, so it is not overwritten',
      where: folder,
      hint: 'choose another: output=...',
    });
}

/**
 * Makes the folder of a new run, whole or not at all: it appears with its lock and its resolved configuration in it.
 * With `overwrite`, an older run folder of that name is replaced, unless a living process uses it.
 */
export async function createRunFolder(
  config: RunConfig,
  options: { readonly overwrite: boolean },
): Promise<RunFolder> {
  const folder = config.output;
  await checkNewRunFolder(folder, options.overwrite);
  const parent = dirname(resolve(folder));
  await mkdir(parent, { recursive: true });
  const token = randomBytes(4).toString('hex');
  const temporary = join(parent, `.${basename(folder)}.${token}.tmp`);
  const old = join(parent, `.${basename(folder)}.${token}.old`);
  await mkdir(temporary);
  try {
    await writeFile(join(temporary, resolvedName), stringify(config));
    await lockFolder(temporary);
    if (await exists(folder)) {
      await lockFolder(folder);
      await rename(folder, old);
    }
    await rename(temporary, folder).catch((error: unknown) => {
      throw takenMeanwhile(error) ? outputExists(folder) : error;
    });
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await rm(old, { recursive: true, force: true });
  return openedFolder(folder);
}

/** Another process made the folder since it was looked for. */
function takenMeanwhile(error: unknown): boolean {
  return ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
}

function outputExists(folder: string): UserError {
  return userError({
    what: 'the output folder exists',
    where: folder,
    hint: `go on with it: --resume ${folder}; replace it: --overwrite; or choose another: output=...`,
  });
}

/**
 * Opens the folder of a run that is to go on, with the configuration that it was started with.
 * @throws UserError where it is not a run folder, or a living process uses it.
 */
export async function resumeRunFolder(folder: string): Promise<{ run: RunFolder; config: RunConfig }> {
  await statOrUserError(folder, 'run folder');
  const paths = runPaths(folder);
  if (!(await exists(paths.config)))
    throw userError({
      what: 'not a run folder',
      where: folder,
      expected: `a folder with ${resolvedName} in it`,
    });
  const { config } = await loadConfig(paths.config, [], runSchema);
  await lockFolder(folder);
  return { run: openedFolder(folder), config: { ...config, output: folder } };
}

function openedFolder(folder: string): RunFolder {
  return { paths: runPaths(folder), close: () => unlockFolder(folder) };
}

/** A folder that `lmvec train` made, or an empty one: what `--overwrite` may delete. */
async function isRunFolder(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => undefined);
  return names !== undefined && (names.length === 0 || names.includes(resolvedName));
}
