#!/usr/bin/env -S MALLOC_MMAP_THRESHOLD_=1048576 node
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { describeSystemError, UserError } from '../src/shared/errors.js';
import { atPath } from '../src/shared/files.js';
import { packageVersions } from '../src/shared/package.js';
import { calibrateCommand } from './commands/calibrate.js';
import { dataCommand } from './commands/data.js';
import { doctorCommand } from './commands/doctor.js';
import { embedCommand } from './commands/embed.js';
import { evaluateCommand } from './commands/evaluate.js';
import { exportCommand } from './commands/export.js';
import { inspectCommand } from './commands/inspect.js';
import { layersCommand } from './commands/layers.js';
import { familiesCommand } from './commands/families.js';
import { methodsCommand } from './commands/methods.js';
import { mineCommand } from './commands/mine.js';
import { pushCommand } from './commands/push.js';
import { serveCommand } from './commands/serve.js';
import { setupCommand } from './commands/setup.js';
import { trainCommand } from './commands/train.js';

/** Exit codes: 0 done, 2 a mistake in what was given (sentences, no stack trace), 130 interrupted, 1 a bug of ours. */
async function main(words: readonly string[]): Promise<void> {
  const root = yargs([...words])
    .scriptName('lmvec')
    .usage('$0 <command>: turn a decoder-only language model into a text-embedding model')
    .parserConfiguration({ 'parse-positional-numbers': false })
    .version(packageVersions().lmvec)
    .strict()
    .recommendCommands()
    .demandCommand(
      1,
      'a command is needed: train, evaluate, export, push, embed, serve, data, mine, inspect, families, methods, layers, calibrate, setup or doctor',
    )
    .wrap(Math.min(120, process.stdout.columns))
    .exitProcess(false)
    .check((argv) => {
      const twice = Object.keys(argv).find(
        (name) => name !== '_' && name !== 'overrides' && Array.isArray(argv[name]),
      );
      if (twice !== undefined) throw new UserError(`--${twice} is given more than once`);
      return true;
    })
    .fail((message: string | null, error: Error | undefined) => {
      // yargs has an error class of its own for some mistakes in the words.
      if (error !== undefined && error.name !== 'YError') throw error;
      const sentence = (message ?? error?.message ?? 'wrong usage').replace(/\s+/g, ' ');
      throw new UserError(`${sentence} (see lmvec --help)`);
    });
  for (const add of [
    trainCommand,
    evaluateCommand,
    exportCommand,
    pushCommand,
    embedCommand,
    serveCommand,
    dataCommand,
    mineCommand,
    inspectCommand,
    familiesCommand,
    methodsCommand,
    layersCommand,
    calibrateCommand,
    setupCommand,
    doctorCommand,
  ])
    add(root);
  await root.parseAsync();
}

function report(error: unknown): void {
  const sentence = error instanceof UserError ? error.message : describeSystemError(error);
  if (sentence === undefined) {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exitCode = 1;
  } else {
    process.stderr.write(`${sentence}\n`);
    process.exitCode = 2;
  }
}

// A reader such as `head` that has seen enough is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') report(atPath(error, () => 'standard output'));
  process.exit();
});

await main(hideBin(process.argv)).catch(report);
