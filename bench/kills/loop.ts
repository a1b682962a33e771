import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, statSync, watch, type FSWatcher } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { openSafetensors } from '../../src/models/weights/index.js';
import { exists } from '../../src/shared/files.js';
import { hashKey } from '../../src/shared/random.js';

/** A command that is killed and started again until it has done its work. */
export interface KilledCommand {
  /** Program and words that begin it, and those that go on with it. */
  readonly begin: readonly string[];
  readonly goOn: readonly string[];
  readonly cwd: string;
  /** What it writes; `goOn` is used once it is there. */
  readonly output: string;
  /** Changes of files after which it is killed at the latest; the number is drawn from 1 to this. */
  readonly mostChanges: number;
}

export interface KillReport {
  /** Processes that were killed before they had ended. */
  readonly kills: number;
  /** Times that the work was finished in spite of it. */
  readonly finished: number;
  /** Files that were looked at after a kill. */
  readonly files: number;
}

export interface KillOptions {
  readonly kills: number;
  readonly seed: number;
  /** Called whenever the work is finished; it compares and clears away. */
  readonly onFinished: () => Promise<void>;
  readonly onKill?: (kills: number) => void;
}

/** One process in so many is left to its end. */
const SPARED_EVERY = 5;

/**
 * Kills a command with SIGKILL at its n-th change of a file, n drawn by the seed, or a few milliseconds later, until `kills` are done; every fifth process is
 * spared, and so is the last.
 * After every kill each file that it shows must be whole.
 * @throws Error where a file is not, or the command fails by itself
 */
export async function killLoop(command: KilledCommand, options: KillOptions): Promise<KillReport> {
  let [kills, finished, files] = [0, 0, 0];
  let unfinished = true;
  for (let attempt = 0; kills < options.kills || unfinished; attempt++) {
    // Kills that come early would never let anything be finished, and what is not finished is not compared.
    const spared = attempt % SPARED_EVERY === SPARED_EVERY - 1 || kills >= options.kills;
    const changes = spared ? Infinity : 1 + (hashKey(options.seed, attempt) % command.mostChanges);
    const words = (await exists(command.output)) ? command.goOn : command.begin;
    const ended = await runUntil(words, {
      ...command,
      changes,
      delay: hashKey(options.seed, attempt, 1) % 8,
    });
    if (ended.killed) {
      kills += 1;
      options.onKill?.(kills);
    } else if (ended.status !== 0) {
      throw new Error(`attempt ${attempt} failed: ${words.join(' ')}\n${ended.stderr}`);
    }
    files += await checkWhole(command.output);
    unfinished = ended.killed;
    if (unfinished) continue;
    finished += 1;
    await options.onFinished();
  }
  return { kills, finished, files };
}

/** Runs the command from its beginning, undisturbed. @throws Error where it fails */
export async function runUndisturbed(command: KilledCommand): Promise<void> {
  const ended = await runUntil(command.begin, { ...command, changes: Infinity, delay: 0 });
  if (ended.status !== 0) throw new Error(`it fails even undisturbed:\n${ended.stderr}`);
}

interface Until extends KilledCommand {
  readonly changes: number;
  readonly delay: number;
}

async function runUntil(
  words: readonly string[],
  { cwd, output, changes, delay }: Until,
): Promise<{ readonly killed: boolean; readonly status: number | null; readonly stderr: string }> {
  const [program = '', ...rest] = words;
  const child = spawn(program, rest, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (text: Buffer) => (stderr = (stderr + text.toString()).slice(-4000)));
  const watcher = killAfter(child, { output, changes, delay });
  const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, by) => resolve([code, by]));
  });
  watcher.close();
  return { killed: signal === 'SIGKILL', status, stderr };
}

/** Counts the changes in and below the output, and in the folder that it will appear in. */
function killAfter(
  child: ChildProcess,
  { output, changes, delay }: { readonly output: string; readonly changes: number; readonly delay: number },
): { close(): void } {
  let seen = 0;
  return watchBelow(dirname(output), (path) => {
    if (!relative(dirname(output), path).includes(basename(output))) return;
    seen += 1;
    if (seen === changes) setTimeout(() => child.kill('SIGKILL'), delay);
  });
}

/**
 * A watcher for each folder. Node's own recursive one reads a new folder in its event handler, and the process ends with an exception that nobody
 * can catch where the folder has been renamed meanwhile, which is how lmvec writes every folder.
 */
function watchBelow(folder: string, onChange: (path: string) => void): { close(): void } {
  const watchers = new Map<string, FSWatcher>();
  const forget = (path: string): void => {
    watchers.get(path)?.close();
    watchers.delete(path);
  };
  const add = (path: string): void => {
    try {
      if (!statSync(path).isDirectory() || watchers.has(path)) return;
      const watcher = watch(path, (_, name) => {
        if (name === null) return;
        onChange(join(path, name));
        add(join(path, name));
      });
      watcher.on('error', () => {
        forget(path);
      });
      watchers.set(path, watcher);
      for (const name of readdirSync(path)) add(join(path, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      forget(path);
    }
  };
  add(folder);
  return {
    close: () => {
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}

/**
 * Looks at every file that has a name of its own (what begins with a dot is not there yet): JSON and safetensors must open, a graph must be as long
 * as its last byte says. Returns how many.
 */
async function checkWhole(folder: string): Promise<number> {
  let files = 0;
  if (!(await exists(folder))) return files;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      files += await checkWhole(path);
      continue;
    }
    files += 1;
    if (path.endsWith('.safetensors')) await (await openSafetensors(path)).close();
    else if (path.endsWith('.json')) JSON.parse(await readFile(path, 'utf8'));
    else if (path.endsWith('.jsonl')) checkLines(await readFile(path, 'utf8'), path);
  }
  return files;
}

/** The last line of a log may be cut: it is appended to, and cut again by whoever goes on. */
function checkLines(text: string, path: string): void {
  for (const line of text.split('\n').slice(0, -1)) {
    if (!line.startsWith('{')) throw new Error(`${path}: not a line of JSON: ${line.slice(0, 80)}`);
    JSON.parse(line);
  }
}
