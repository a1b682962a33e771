import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { SideReport } from './jobs.js';

export interface SideCommand {
  readonly label: string;
  readonly command: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** The process is killed above this resident size, and counts as one that does not fit. */
  readonly memoryLimitGb: number;
}

export type SideOutcome =
  | { readonly status: 'done'; readonly report: SideReport }
  | { readonly status: 'does not fit'; readonly peakRssGb: number }
  | { readonly status: 'failed'; readonly reason: string };

/** What the first line of the program `lmvec` sets. */
export const ownEnvironment = { MALLOC_MMAP_THRESHOLD_: '1048576' };

const watchEveryMs = 100;
/** Below this the machine itself is in danger, whoever took the memory. */
const leastAvailableGb = 0.7;

/** Runs one side as a process of its own; its last line of standard output is its report, everything else goes to standard error. */
export async function runSide(side: SideCommand): Promise<SideOutcome> {
  const child = spawn(side.command, side.arguments, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...side.environment },
  });
  const failure = new Promise<string>((resolve) => child.once('error', (error) => resolve(error.message)));
  const exit = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const seen = { peakRssGb: 0, tooLarge: false };
  const watch = setInterval(() => {
    void memoryState(child.pid).then(({ rssGb, availableGb }) => {
      seen.peakRssGb = Math.max(seen.peakRssGb, rssGb);
      if (rssGb <= side.memoryLimitGb && availableGb >= leastAvailableGb) return;
      seen.tooLarge = true;
      child.kill('SIGKILL');
    });
  }, watchEveryMs);
  let last = '';
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (last !== '') process.stderr.write(`${last}\n`);
    last = line;
  });
  const ended = await Promise.race([exit, failure]);
  clearInterval(watch);
  // A kill by the machine (exit without a code) close to the limit is the same finding.
  const killedNearLimit = ended === null && seen.peakRssGb > side.memoryLimitGb * 0.8;
  if (seen.tooLarge || killedNearLimit) return { status: 'does not fit', peakRssGb: seen.peakRssGb };
  if (ended !== 0)
    return { status: 'failed', reason: typeof ended === 'string' ? ended : `exit code ${String(ended)}` };
  try {
    return { status: 'done', report: JSON.parse(last) as SideReport };
  } catch {
    return { status: 'failed', reason: `no report in its last line: ${last.slice(0, 200)}` };
  }
}

async function memoryState(pid: number | undefined): Promise<{ rssGb: number; availableGb: number }> {
  const [status, machine] = await Promise.all([
    readFile(`/proc/${pid ?? 0}/status`, 'utf8').catch(() => ''),
    readFile('/proc/meminfo', 'utf8').catch(() => ''),
  ]);
  return { rssGb: kilobytes(status, 'VmRSS', 0), availableGb: kilobytes(machine, 'MemAvailable', Infinity) };
}

/** Peak resident size of this process in gigabytes (10^9 bytes). */
export async function ownPeakRssGb(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  return kilobytes(status, 'VmHWM', (process.resourceUsage().maxRSS * 1024) / 1e9);
}

/** A `Name:  123 kB` line of a /proc file, in gigabytes. */
function kilobytes(text: string, name: string, missing: number): number {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text);
  return match === null ? missing : (Number(match[1]) * 1024) / 1e9;
}

/** The command line of another script of bench/, built (.js) or from the sources (.ts) as the caller `from` (its import.meta.url) is. */
export function nodeCommand(from: string, script: string): { command: string; arguments: string[] } {
  const path = fileURLToPath(new URL(`${script}${extname(from)}`, from));
  return { command: process.execPath, arguments: [...process.execArgv, path] };
}
