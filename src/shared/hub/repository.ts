import { copyFile, mkdir, readFile, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type * as Hub from '@huggingface/hub';
import { z } from 'zod';
import { UserError, userError } from '../errors.js';
import { exists, writeFileAtomic } from '../files.js';
import { downloadFile, hintFor, reasonOf, type HubFile } from './download.js';
import { answerFetch } from './fetch.js';
import { isInside, type HubId } from './ids.js';
import type { HubOptions } from './options.js';

/** A repository at one commit, in the cache or on its way there. */
export interface Repository {
  /** snapshots/<commit>/ in the cache: its files under their own names. */
  readonly folder: string;
  /** Undefined where the hub cannot be asked: then what is in the cache is all that there is. */
  readonly files: readonly HubFile[] | undefined;
  /** Brings files into `folder`. */
  fetch(files: readonly HubFile[]): Promise<void>;
}

const mostFiles = 100_000;
/** Of a list of files: the hub puts up to 1,000 on one. */
const mostPages = 200;
const commit = /^[0-9a-f]{40}$/;
const entrySchema = z.object({
  type: z.string(),
  path: z.string(),
  size: z.int().min(0),
  oid: z
    .string()
    .regex(/^[0-9a-f]{40}$/)
    .optional(),
  lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().min(0) }).optional(),
});

/**
 * Opens a repository: its commit and its list of files, from the hub, or offline from the cache (the layout of Python's huggingface_hub, and
 * its files).
 * @throws UserError where there is no such repository, or no cache of it while the hub cannot be reached
 */
export async function openRepository(id: HubId, options: HubOptions): Promise<Repository> {
  const root = join(options.cache, `${id.type}s--${id.name.replaceAll('/', '--')}`);
  const revision = id.revision ?? 'main';
  if (options.offline) return cached(id, { root, options, reason: 'HF_HUB_OFFLINE is set' });
  // Loaded where it is needed: most commands never ask the hub.
  const hub = await import('@huggingface/hub');
  let sha: string;
  let files: HubFile[];
  try {
    sha = await commitOf(hub, id, options);
    files = await filesOf(hub, { id, sha, options });
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (error instanceof hub.HubApiError && error.statusCode < 500) throw refused(id, error, options);
    return cached(id, {
      root,
      options,
      reason: `${options.endpoint} cannot be reached (${reasonOf(error)})`,
    });
  }
  if (revision !== sha) await writeFileAtomic(join(root, 'refs', revision), sha);
  const folder = join(root, 'snapshots', sha);
  return {
    folder,
    files,
    fetch: async (wanted) => {
      for (const file of wanted) await bring(file, { id, sha, root, folder, options });
    },
  };
}

async function cached(
  id: HubId,
  { root, options, reason }: { readonly root: string; readonly options: HubOptions; readonly reason: string },
): Promise<Repository> {
  const revision = id.revision ?? 'main';
  const sha = commit.test(revision)
    ? revision
    : (await readFile(join(root, 'refs', revision), 'utf8').catch(() => '')).trim();
  const folder = join(root, 'snapshots', sha);
  if (!commit.test(sha) || !(await exists(folder))) {
    throw userError({
      what: `${id.name}${id.revision === undefined ? '' : `@${id.revision}`} is neither here nor in the cache`,
      where: options.cache,
      got: reason,
      hint: 'give a path, or go online once',
    });
  }
  if (!options.offline) options.say(`${id.name}: ${reason}; the cached copy is used`);
  return { folder, files: undefined, fetch: () => Promise.resolve() };
}

async function commitOf(
  { modelInfo, datasetInfo }: typeof Hub,
  id: HubId,
  options: HubOptions,
): Promise<string> {
  const request = {
    name: id.name,
    hubUrl: options.endpoint,
    fetch: answerFetch(options),
    revision: id.revision ?? 'main',
    additionalFields: ['sha' as const],
  };
  const { sha } = id.type === 'model' ? await modelInfo(request) : await datasetInfo(request);
  if (typeof sha === 'string' && commit.test(sha)) return sha;
  throw brokenAnswer(id, `the commit ${JSON.stringify(sha)}`, options);
}

async function filesOf(
  { listFiles }: typeof Hub,
  { id, sha, options }: { readonly id: HubId; readonly sha: string; readonly options: HubOptions },
): Promise<HubFile[]> {
  const files: HubFile[] = [];
  const once = answerFetch(options);
  let pages = 0;
  const entries = listFiles({
    repo: { type: id.type, name: id.name },
    recursive: true,
    revision: sha,
    hubUrl: options.endpoint,
    // A list whose every page names a next one would never end.
    fetch: (...request) => {
      pages += 1;
      if (pages > mostPages) throw brokenAnswer(id, `more than ${mostPages} pages`, options);
      return once(...request);
    },
  });
  for await (const entry of entries) {
    const parsed = entrySchema.safeParse(entry);
    if (!parsed.success || files.length === mostFiles)
      throw brokenAnswer(
        id,
        parsed.success ? `more than ${mostFiles} files` : `the entry ${JSON.stringify(entry).slice(0, 200)}`,
        options,
      );
    const { type, path, size, oid, lfs } = parsed.data;
    if (type !== 'file') continue;
    if (!isInside(path)) throw brokenAnswer(id, `the file name ${JSON.stringify(path)}`, options);
    if (lfs !== undefined) files.push({ path, size: lfs.size, hash: { kind: 'sha256', hex: lfs.oid } });
    else if (oid !== undefined) files.push({ path, size, hash: { kind: 'git', hex: oid } });
  }
  return files;
}

function brokenAnswer(id: HubId, got: string, { endpoint }: HubOptions): Error {
  return userError({ what: `the hub's answer about ${id.name} is broken`, where: endpoint, got });
}

function refused(id: HubId, error: Hub.HubApiError, { endpoint }: HubOptions): Error {
  const kind = id.type === 'model' ? 'model' : 'data set';
  const absent = error.statusCode === 404;
  return userError({
    what: absent
      ? `there is no ${kind} ${id.name}${id.revision === undefined ? '' : ` at ${id.revision}`}`
      : `the hub refuses ${id.name}`,
    where: endpoint,
    got: `status ${error.statusCode}`,
    ...(absent ? { hint: 'a private one needs HF_TOKEN; a path must exist' } : hintFor(error.statusCode)),
  });
}

interface Bringing {
  readonly id: HubId;
  readonly sha: string;
  readonly root: string;
  readonly folder: string;
  readonly options: HubOptions;
}

/** Downloads a blob, where it is not there yet, and gives it its name in the snapshot. */
async function bring(file: HubFile, { id, sha, root, folder, options }: Bringing): Promise<void> {
  const pointer = join(folder, ...file.path.split('/'));
  if (await exists(pointer)) return;
  const blob = join(root, 'blobs', file.hash.hex);
  await mkdir(dirname(blob), { recursive: true });
  if (!(await exists(blob))) {
    const kind = id.type === 'model' ? '' : 'datasets/';
    const url = `${options.endpoint}/${kind}${id.name}/resolve/${sha}/${file.path.split('/').map(encodeURIComponent).join('/')}`;
    options.say(`downloading ${id.name}/${file.path}, ${(file.size / 1e6).toFixed(1)} MB`);
    await downloadFile(url, file, { target: blob, options });
  }
  await mkdir(dirname(pointer), { recursive: true });
  try {
    await symlink(relative(dirname(pointer), blob), pointer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await copyFile(blob, pointer);
  }
}
