import { spawn } from 'node:child_process';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '../..');

export interface CommandOptions {
  readonly cwd: string;
  /** Standard input. */
  readonly input?: string;
  /** Called with all of standard error so far, and a way to signal the process. */
  readonly onError?: (soFar: string, kill: (signal: NodeJS.Signals) => void) => void;
}

export interface CommandResult {
  /** null where a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly bytes: Buffer;
}

/** Runs a script with tsx. Asynchronous: a worker that is blocked for long is given up by the test runner. */
export function runScript(
  script: string,
  words: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), script, ...words], {
      cwd: options.cwd,
    });
    const stdout: Buffer[] = [];
    let stderr = '';
    child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      options.onError?.(stderr, (signal) => child.kill(signal));
    });
    child.on('error', reject);
    child.on('close', (status) => {
      const bytes = Buffer.concat(stdout);
      resolve({ status, stdout: bytes.toString(), stderr, bytes });
    });
    // A process that ends before it has read everything is no error here.
    child.stdin.on('error', () => undefined).end(options.input ?? '');
  });
}

export function lmvec(words: readonly string[], options: CommandOptions): Promise<CommandResult> {
  return runScript(join(root, 'scripts/lmvec.ts'), words, options);
}

/** The rows of a .jsonl output, as the float32 numbers that they were. */
export function jsonRows(text: string): number[][] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as number[]).map(Math.fround));
}

/** Rows of a NumPy file of float32. */
export function npyRows(bytes: Buffer): number[][] {
  const end = 10 + bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', 10, end);
  const [, rows, columns] = /'descr': '<f4'.*'shape': \((\d+), (\d+)\)/.exec(header) ?? [];
  const width = Number(columns);
  return Array.from({ length: Number(rows) }, (_, row) =>
    Array.from({ length: width }, (_, column) => bytes.readFloatLE(end + 4 * (row * width + column))),
  );
}

export function largestDifference(
  a: readonly (readonly number[])[],
  b: readonly (readonly number[])[],
): number {
  if (a.length !== b.length || a.length === 0) return NaN;
  return Math.max(...a.flatMap((row, i) => row.map((value, j) => Math.abs(value - (b[i]?.[j] ?? NaN)))));
}
