import { spawn } from 'node:child_process';
import { userError } from '../../shared/errors.js';

export interface ProgramOptions {
  readonly cwd: string;
  /** Beside the environment of this process. */
  readonly environment?: Readonly<Record<string, string>>;
  /** What could not be done where it fails. */
  readonly what: string;
  /** What to do where the program is missing. */
  readonly hint: string;
}

const KEPT = 4000;

/** Runs a program to its end. @throws UserError with the last line that it said, where it is missing or fails */
export async function runProgram(
  command: string,
  words: readonly string[],
  { cwd, environment, what, hint }: ProgramOptions,
): Promise<void> {
  let said = '';
  const ended = await new Promise<string | number | null>((resolve) => {
    const child = spawn(command, words, {
      cwd,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (part: string) => (said = (said + part).slice(-KEPT)));
    child.on('error', (error) => resolve(error.message));
    child.on('close', resolve);
  });
  if (ended === 0) return;
  if (typeof ended === 'string') throw userError({ what, got: ended, hint });
  const lines = said.split('\n').filter((line) => line.trim() !== '');
  const told = lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1) ?? 'no word';
  throw userError({ what, got: `${command} ended with ${ended ?? 'a signal'}: ${told.trim()}`, hint });
}
