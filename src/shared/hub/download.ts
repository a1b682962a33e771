import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { UserError, describeSystemError, userError } from '../errors.js';
import { atPath, writeAt } from '../files.js';
import { hubFetch } from './fetch.js';
import type { HubOptions } from './options.js';

/** What the hub says about a file; it is believed only where it is true. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a large file; SHA-1 of git's blob (with its header) of a small one. */
  readonly hash: { readonly kind: 'sha256' | 'git'; readonly hex: string };
}

const mostAttempts = 5;

/**
 * Downloads a file beside `target` and renames it when size and hash are right. What a broken connection left is gone on with, in this call
 * and in later ones.
 * @throws UserError where the hub does not give the file that it has promised
 */
export async function downloadFile(
  url: string,
  file: HubFile,
  { target, options }: { readonly target: string; readonly options: HubOptions },
): Promise<void> {
  const partial = `${target}.incomplete`;
  let failure: unknown;
  // Attempts that bring bytes are not counted: a bad line gets there in the end.
  for (let attempt = 0, had = await sizeOf(partial); attempt < mostAttempts;) {
    if (failure !== undefined) await wait(options.retryMilliseconds * 2 ** attempt);
    try {
      await fetchRest(url, file, { partial, options });
      if (await isWhole(partial, file)) {
        await rename(partial, target);
        return;
      }
      await rm(partial, { force: true });
      // A wrong beginning of an earlier call may be to blame: from scratch once, then it is the hub.
      if (failure instanceof WrongBytes) throw wrongBytes(url, file);
      failure = new WrongBytes();
      had = 0;
    } catch (error) {
      if (error instanceof UserError || (describeSystemError(error) !== undefined && isOurs(error)))
        throw error;
      failure = error;
      const now = await sizeOf(partial);
      if (now > had) attempt = 0;
      else attempt += 1;
      had = now;
    }
  }
  throw userError({
    what: 'the download was interrupted again and again',
    where: url,
    got: `${await sizeOf(partial)} of ${file.size} bytes: ${reasonOf(failure)}`,
    hint: 'start again: it goes on where it stopped',
  });
}

class WrongBytes extends Error {}

function wrongBytes(url: string, { size, hash }: HubFile): Error {
  return userError({
    what: 'the hub sends other bytes than it has promised',
    where: url,
    expected: `${size} bytes with the hash ${hash.hex}`,
  });
}

/** A file that cannot be written is no matter of the connection. */
function isOurs(error: unknown): boolean {
  return ['ENOSPC', 'EACCES', 'EROFS', 'EDQUOT', 'ENOENT', 'EPERM'].includes(
    (error as NodeJS.ErrnoException).code ?? '',
  );
}

/** Why a connection failed, in the words of the system. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

async function fetchRest(
  url: string,
  file: HubFile,
  { partial, options }: { readonly partial: string; readonly options: HubOptions },
): Promise<void> {
  const start = Math.min(await sizeOf(partial), file.size);
  if (start === file.size && start > 0) return;
  const response = await hubFetch(options)(url, start > 0 ? { headers: { range: `bytes=${start}-` } } : {});
  if (response.status === 416) {
    await response.body?.cancel();
    await rm(partial, { force: true });
    throw new Error('the part that is there does not fit');
  }
  if (response.status >= 500 || response.status === 429) {
    await response.body?.cancel();
    throw new Error(`status ${response.status}`);
  }
  if (!response.ok) {
    await response.body?.cancel();
    throw userError({
      what: 'the hub does not give the file',
      where: url,
      got: `status ${response.status}`,
      ...hintFor(response.status),
    });
  }
  const from = response.status === 206 ? startOfRange(response.headers.get('content-range')) : 0;
  if (from !== 0 && from !== start) {
    await response.body?.cancel();
    throw new Error('another part than was asked for');
  }
  const handle = await open(partial, from === 0 ? 'w' : 'r+');
  try {
    await writeBody(response, handle, {
      from,
      size: file.size,
      stallMilliseconds: options.stallMilliseconds,
    });
  } catch (error) {
    throw isOurs(error) ? atPath(error, () => partial) : error;
  } finally {
    await handle.close();
  }
}

function startOfRange(header: string | null): number | undefined {
  const start = /^bytes (\d+)-/.exec(header ?? '')?.[1];
  return start === undefined ? undefined : Number(start);
}

async function writeBody(
  response: Response,
  handle: FileHandle,
  {
    from,
    size,
    stallMilliseconds,
  }: { readonly from: number | undefined; readonly size: number; readonly stallMilliseconds: number },
): Promise<void> {
  let at = from ?? 0;
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  let timer: NodeJS.Timeout | undefined;
  try {
    for (;;) {
      const stalled = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error('no further byte')), stallMilliseconds);
      });
      const next = await Promise.race([
        reader.read() as Promise<{ done: boolean; value?: Uint8Array }>,
        stalled,
      ]);
      clearTimeout(timer);
      if (next.value === undefined) break;
      const part = next.value;
      // More than was promised is not written: a lying server does not fill the disk.
      const room = Math.min(part.length, size - at);
      await writeAt(handle, part.subarray(0, room), at);
      at += room;
      if (room < part.length) throw new WrongBytes('more bytes than promised');
    }
  } finally {
    clearTimeout(timer);
    await reader.cancel().catch(() => undefined);
  }
  if (at < size) throw new Error('the connection ended early');
}

/** What a status of the hub asks of the user. */
export function hintFor(status: number): { readonly hint?: string } {
  if (status === 401 || status === 403)
    return { hint: 'it may be private or gated: accept its terms on the hub, then set HF_TOKEN' };
  return {};
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

/** Whether a file is what was promised. */
export async function isWhole(path: string, { size, hash }: HubFile): Promise<boolean> {
  if ((await sizeOf(path)) !== size) return false;
  const sum = createHash(hash.kind === 'sha256' ? 'sha256' : 'sha1');
  if (hash.kind === 'git') sum.update(`blob ${size}\0`);
  await pipeline(createReadStream(path), sum);
  return sum.digest('hex') === hash.hex;
}
