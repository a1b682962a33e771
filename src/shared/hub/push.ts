import { readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import type * as Hub from '@huggingface/hub';
import { UserError, shown, userError } from '../errors.js';
import { reasonOf } from './download.js';
import { answerFetch } from './fetch.js';
import { isInside } from './ids.js';
import type { HubOptions } from './options.js';

/** What is written to the hub. */
export interface PushOptions {
  readonly folder: string;
  /** `owner/name`. */
  readonly repository: string;
  /** Whether only its owner may see it; false leaves it to the owner's settings. */
  readonly private: boolean;
  readonly title: string;
}

export interface PushResult {
  readonly url: string;
  readonly files: number;
  readonly bytes: number;
}

const mostAttempts = 5;
const mostFiles = 10_000;
/** A line slower than this is taken for a stalled one. */
const slowestBytesPerMillisecond = 20;

/**
 * Writes a folder to a model repository of the hub as one commit; the repository is made where there is none. Files of other names that
 * are there stay. Either all of the folder shows up or nothing does.
 * @throws UserError where the hub refuses it or cannot be reached, or a private repository was asked for and the one there is public
 */
export async function pushFolder(options: PushOptions, hub: HubOptions): Promise<PushResult> {
  const { folder, repository, title } = options;
  const token = checkedToken(hub);
  const files = await filesOf(folder);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  // Loaded where it is needed: most commands never ask the hub.
  const library = await import('@huggingface/hub');
  const call = {
    repo: { type: 'model' as const, name: repository },
    hubUrl: hub.endpoint,
    accessToken: token,
    fetch: persistentFetch(hub),
  };
  try {
    await makeRepository(library, { ...options, call });
    hub.say(`uploading ${files.length} files, ${(bytes / 1e6).toFixed(1)} MB, to ${repository}`);
    await library.uploadFiles({
      ...call,
      commitTitle: title,
      // The older of the hub's two ways to send large files: every hub and mirror has it.
      useXet: false,
      files: files.map(({ path }) => ({ path, content: pathToFileURL(join(folder, ...path.split('/'))) })),
    });
  } catch (error) {
    throw pushError(error, { library, repository, hub });
  }
  return { url: `${hub.endpoint}/${repository}`, files: files.length, bytes };
}

function checkedToken({ token, offline }: HubOptions): `hf_${string}` {
  if (offline) throw userError({ what: 'nothing can be pushed offline', got: 'HF_HUB_OFFLINE is set' });
  if (token?.startsWith('hf_') === true) return token as `hf_${string}`;
  throw userError({
    what: token === undefined ? 'a token is needed' : 'this is no token of the hub',
    expected: 'one that begins with hf_',
    hint: 'make one that may write at https://huggingface.co/settings/tokens and set HF_TOKEN, or give --token',
  });
}

/** Regular files, by their path in the repository; what a killed process left behind and other hidden files stay here. */
async function filesOf(folder: string): Promise<{ readonly path: string; readonly size: number }[]> {
  const files: { path: string; size: number }[] = [];
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const local = join(entry.parentPath, entry.name);
    const path = relative(folder, local).split(sep).join('/');
    if (entry.isDirectory() || path.split('/').some((part) => part.startsWith('.'))) continue;
    // A link may lead to a file that nobody means to publish.
    if (!entry.isFile() || !isInside(path))
      throw userError({ what: 'this cannot be pushed', where: local, expected: 'a plain file' });
    files.push({ path, size: (await stat(local)).size });
  }
  if (files.length === 0 || files.length > mostFiles)
    throw userError({
      what: 'this folder cannot be pushed',
      where: folder,
      got: `${files.length} files`,
      expected: `1 to ${mostFiles}`,
    });
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

interface Call {
  readonly repo: { readonly type: 'model'; readonly name: string };
  readonly hubUrl: string;
  readonly accessToken: `hf_${string}`;
  readonly fetch: typeof fetch;
}

async function makeRepository(
  { createRepo, modelInfo, HubApiError }: typeof Hub,
  { call, repository, private: hidden }: PushOptions & { readonly call: Call },
): Promise<void> {
  try {
    await createRepo({ ...call, ...(hidden ? { visibility: 'private' as const } : {}) });
  } catch (error) {
    if (!(error instanceof HubApiError) || error.statusCode !== 409) throw error;
    if (!hidden) return;
    const there = await modelInfo({ ...call, name: repository });
    if (there.private) return;
    throw userError({
      what: `${repository} is there already and public`,
      where: '--private',
      hint: 'make it private on the hub first, or choose another name',
    });
  }
}

/** A `fetch` that tries again where a connection breaks or the hub is busy: each request of a push may be repeated. */
function persistentFetch(hub: HubOptions): typeof fetch {
  return async (input, init) => {
    const size = init?.body instanceof Blob ? init.body.size : 0;
    const stallMilliseconds = hub.stallMilliseconds + size / slowestBytesPerMillisecond;
    const once = answerFetch({ ...hub, stallMilliseconds });
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await once(input, init);
        if (attempt === mostAttempts || (response.status < 500 && response.status !== 429)) return response;
      } catch (error) {
        if (attempt === mostAttempts || error instanceof UserError || init?.signal?.aborted === true)
          throw error;
      }
      await wait(hub.retryMilliseconds * 2 ** attempt);
    }
  };
}

/** What a status asks of the user. */
const answers: Readonly<Record<number, { readonly what: string; readonly hint: string }>> = {
  401: {
    what: 'the hub does not accept the token',
    hint: 'it may have expired: set HF_TOKEN or give --token',
  },
  403: { what: 'the token may not write there', hint: 'it needs the right to write to this owner' },
  404: {
    what: 'the hub knows no such owner or repository',
    hint: 'is the name right, and may the token see it?',
  },
};

function pushError(
  error: unknown,
  { library, repository, hub }: { library: typeof Hub; repository: string; hub: HubOptions },
): unknown {
  if (error instanceof UserError) return error;
  if (error instanceof library.HubApiError) {
    const { what, hint } = answers[error.statusCode] ?? {
      what: 'the hub refuses the push',
      hint: 'nothing was published',
    };
    // Its last sentences are the address and the number of the request.
    const said = error.message.split('. URL: ')[0]?.replace(/\s+/g, ' ') ?? '';
    return userError({ what, where: repository, got: `status ${error.statusCode}, ${shown(said)}`, hint });
  }
  return userError({
    what: 'the push was interrupted again and again',
    where: hub.endpoint,
    got: reasonOf(error),
    hint: 'nothing was published; start again: large files that arrived are not sent twice',
  });
}
