import { randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { userError } from '../shared/errors.js';

const lockSchema = z.object({ pid: z.int().min(1), startTime: z.string().nullable() });
type Holder = z.output<typeof lockSchema>;

const lockName = 'lock.json';
const ATTEMPTS = 100;
const WAIT_MILLISECONDS = 10;

/**
 * Makes this process the only one that writes into `folder`, until `unlockFolder`.
 * The lock of a process that is gone is taken over: a process is known by its id and its start time, since ids are used again.
 * @throws UserError where another living process holds it.
 */
export async function lockFolder(folder: string): Promise<void> {
  const path = join(folder, lockName);
  const own = join(folder, `.${lockName}.${randomBytes(4).toString('hex')}`);
  // A link appears whole and only where nothing is: nobody ever reads half a lock.
  await writeFile(own, await ownLock(), { flag: 'wx' });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await tryLink(own, path)) return;
      if (await takeOverDeadLock(folder, own)) return;
      await setTimeout(WAIT_MILLISECONDS);
    }
  } finally {
    await rm(own, { force: true });
  }
  throw userError({ what: 'the run folder is locked again and again', where: folder });
}

/** Gives the lock back, if this process holds it. */
export async function unlockFolder(folder: string): Promise<void> {
  const path = join(folder, lockName);
  const current = await readOrNothing(path);
  if (current === (await ownLock())) await rm(path, { force: true });
}

/**
 * Puts `own` in the place of the lock of a process that is gone; false where somebody else was faster.
 * @throws UserError where the process lives
 */
async function takeOverDeadLock(folder: string, own: string): Promise<boolean> {
  const path = join(folder, lockName);
  const seen = await readOrNothing(path);
  if (seen === undefined) return false;
  const holder = parseHolder(seen);
  if (holder !== undefined && (await isAlive(holder)))
    throw userError({
      what: `the run folder is in use by process ${holder.pid}`,
      where: folder,
      hint: 'wait for it, or end it',
    });
  // One at a time: else a lock that was just taken could be mistaken for the dead one that was read before.
  const claim = join(folder, `.${lockName}.claim`);
  if (!(await tryLink(own, claim))) {
    const claimant = parseHolder((await readOrNothing(claim)) ?? '');
    if (claimant !== undefined && !(await isAlive(claimant))) await rm(claim, { force: true });
    return false;
  }
  try {
    if ((await readOrNothing(path)) !== seen) return false;
    await rename(own, path);
    return true;
  } finally {
    await rm(claim, { force: true });
  }
}

async function readOrNothing(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

async function ownLock(): Promise<string> {
  return `${JSON.stringify({ pid: process.pid, startTime: await startTime(process.pid) })}\n`;
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    return lockSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: it exists, and is somebody else's.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const current = await startTime(holder.pid);
  return holder.startTime === null || current === null || current === holder.startTime;
}

/** When a process started, as Linux counts it (field 22 of /proc/PID/stat, with the boot it belongs to); null elsewhere. */
async function startTime(pid: number): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
    // The name in parentheses may itself hold spaces and parentheses. A zombie is dead, only not yet buried.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? 'dead' : `${boot.trim()}/${fields[19] ?? ''}`;
  } catch {
    return null;
  }
}
