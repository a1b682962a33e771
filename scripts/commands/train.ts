import type { Argv } from 'yargs';
import type { TrainResult } from '../../src/recipes/train.js';
import { userError } from '../../src/shared/errors.js';

export function trainCommand(root: Argv): Argv {
  return root.command(
    'train [overrides..]',
    'Run a recipe: train a decoder into an embedder, evaluate it, export it',
    (yargs) =>
      yargs
        .positional('overrides', {
          type: 'string',
          array: true,
          default: [] as string[],
          describe: 'key.path=value, laid over the config',
        })
        .option('config', { type: 'string', requiresArg: true, describe: 'the recipe, a YAML file' })
        .option('resume', {
          type: 'string',
          requiresArg: true,
          describe: 'go on with the run in this folder',
        })
        .option('overwrite', { type: 'boolean', describe: 'replace an older run folder' })
        .option('dry-run', {
          type: 'boolean',
          describe: 'parameter counts, memory, first batch; no training',
        })
        .conflicts('resume', ['config', 'overwrite', 'dry-run'])
        .example('$0 train --config configs/llm2vec.yaml output=runs/x train.seed=7', '')
        .example('$0 train --resume runs/x', ''),
    async (argv) => {
      const overrides = argv.overrides.map(String);
      if (argv.resume !== undefined) return resumeRun(argv.resume, overrides);
      if (argv.config === undefined)
        throw userError({ what: 'no recipe', where: 'train', expected: '--config FILE or --resume FOLDER' });
      await startRun({
        config: argv.config,
        overrides,
        overwrite: argv.overwrite === true,
        dryRun: argv['dry-run'] === true,
      });
    },
  );
}

interface StartOptions {
  readonly config: string;
  readonly overrides: readonly string[];
  readonly overwrite: boolean;
  readonly dryRun: boolean;
}

async function startRun({ config: path, overrides, overwrite, dryRun }: StartOptions): Promise<void> {
  const { loadConfig } = await import('../../src/config/load.js');
  const { runSchema } = await import('../../src/recipes/schema.js');
  const { config } = await loadConfig(path, overrides, runSchema);
  if (dryRun) {
    const { describeRun } = await import('../../src/recipes/dry-run.js');
    process.stdout.write(`${await describeRun(config)}\n`);
    return;
  }
  const { train } = await import('../../src/recipes/train.js');
  await untilInterrupted((signal) => train(config, { overwrite, signal }));
}

async function resumeRun(folder: string, overrides: readonly string[]): Promise<void> {
  if (overrides.length > 0)
    throw userError({
      what: 'a resumed run keeps its configuration',
      where: '--resume',
      got: overrides.join(' '),
      expected: 'no overrides',
    });
  const { resume } = await import('../../src/recipes/train.js');
  await untilInterrupted((signal) => resume(folder, { signal }));
}

/** Ctrl-C ends the run after the step under way, with a checkpoint; a second one, later, ends it at once. */
async function untilInterrupted(run: (signal: AbortSignal) => Promise<TrainResult>): Promise<void> {
  const controller = new AbortController();
  let first: number | undefined;
  const interrupt = (): void => {
    // npm hands a terminal's Ctrl-C on, so that one press can arrive twice.
    if (first !== undefined && performance.now() - first > 1000) process.exit(130);
    if (first !== undefined) return;
    first = performance.now();
    process.stderr.write('\nfinishing the step under way, then saving; Ctrl-C again stops at once\n');
    controller.abort();
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  try {
    const result = await run(controller.signal);
    if (result.report !== undefined) process.stdout.write(`${result.report}\n`);
    if (result.status !== 'interrupted') return;
    process.stderr.write(
      `interrupted at step ${result.step} of stage ${result.stage}; go on with: lmvec train --resume ${result.folder}\n`,
    );
    process.exitCode = 130;
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}
