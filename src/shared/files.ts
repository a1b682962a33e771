import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { access, mkdir, open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { userError } from './errors.js';

/** Writes a whole file so that readers see the old one or the new one, never a part: temporary file beside it, fsync, rename. */
export async function writeFileAtomic(path: string, content: string | Uint8Array): Promise<void> {
  await writeAtomic(path, async (file) => {
    await file.writeFile(content);
  });
}

/** As `writeFileAtomic`, for content that `write` streams into the open file. The temporary file is removed where `write` fails. */
export async function writeAtomic(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true });
  const temporary = join(folder, `.${basename(path)}.${randomBytes(4).toString('hex')}.tmp`);
  const file = await open(temporary, 'wx');
  try {
    await write(file);
    await file.sync();
    await file.close();
    await rename(temporary, path);
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw atPath(error, (at = path) => (at === temporary ? path : at));
  }
  await syncFolder(folder);
}

/** Writes all of `content` at `position`: one write may take a part alone, as where the disk is all but full. */
export async function writeAt(file: FileHandle, content: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < content.length;) {
    const left = content.length - written;
    written += (await file.write(content, written, left, position + written)).bytesWritten;
  }
}

/**
 * What the system says of a write, such as a full disk, names no file, or the temporary one: it shall name the one that was to be written. What it
 * says of reading is of another file.
 */
export function atPath(error: unknown, name: (path: string | undefined) => string): unknown {
  if (error instanceof Error && 'syscall' in error) {
    const system = error as NodeJS.ErrnoException;
    if (system.syscall !== 'read') system.path = name(system.path);
  }
  return error;
}

/** Fills a new folder under a temporary name and renames it into place, so that it is whole or absent; replaces an older one. */
export async function writeFolderAtomic(
  path: string,
  fill: (temporary: string) => Promise<void>,
): Promise<void> {
  const parent = dirname(path);
  await mkdir(parent, { recursive: true });
  const token = randomBytes(4).toString('hex');
  const temporary = join(parent, `.${basename(path)}.${token}.tmp`);
  const old = join(parent, `.${basename(path)}.${token}.old`);
  await mkdir(temporary);
  let replaced = false;
  try {
    await fill(temporary);
    if (await exists(path)) {
      await rename(path, old);
      replaced = true;
    }
    await rename(temporary, path);
    await syncFolder(parent);
    if (replaced) await rm(old, { recursive: true, force: true });
  } catch (error) {
    // The older one is put back, unless somebody else was faster with a new one.
    if (replaced && !(await exists(path))) await rename(old, path).catch(() => undefined);
    await rm(temporary, { recursive: true, force: true });
    throw atPath(error, (at = path) => (at.startsWith(temporary) ? path + at.slice(temporary.length) : at));
  }
}

const replacing = /^\.(.+)\.[0-9a-f]{8}\.(tmp|old)$/;

/**
 * Clears up after a process that was killed while it wrote in or below `folder`: a folder that was moved aside and not replaced is put back,
 * what was not written to its end goes. Only for a folder that nobody else writes to.
 */
export async function finishReplacements(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    const [, name, kind] = replacing.exec(entry.name) ?? [];
    if (name === undefined) {
      if (entry.isDirectory()) await finishReplacements(path);
    } else if (kind === 'old' && !(await exists(join(folder, name)))) {
      await rename(path, join(folder, name));
    } else {
      await rm(path, { recursive: true, force: true });
    }
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** `stat` that says in one sentence what is missing. `what` names the thing for the user, e.g. "model". */
export async function statOrUserError(path: string, what: string): Promise<Stats> {
  try {
    return await stat(path);
  } catch {
    throw userError({ what: `${what} not found`, where: path, expected: 'an existing file or folder' });
  }
}
