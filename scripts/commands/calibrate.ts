import type { Argv } from 'yargs';
import { modelOptions, withModelOptions } from './model-options.js';

export function calibrateCommand(root: Argv): Argv {
  return root.command(
    'calibrate',
    'Standardise the vectors of a model by statistics of your texts, saved with it; or measure ranges for int8 vectors',
    (yargs) =>
      withModelOptions(yargs)
        .option('texts', {
          type: 'string',
          demandOption: true,
          requiresArg: true,
          describe: 'a file with one text a line',
        })
        .option('output', {
          type: 'string',
          demandOption: true,
          requiresArg: true,
          describe: 'the folder of the calibrated model; an .npy file with --ranges',
        })
        .option('ranges', {
          type: 'boolean',
          default: false,
          describe: 'measure the ranges that int8 vectors are laid between, instead',
        })
        .example(
          '$0 calibrate --model model.gguf --method prompt-eol --texts sentences.txt --output calibrated/',
          '',
        ),
    async (argv) => {
      const { calibrate, calibrateRanges } = await import('../../src/recipes/calibrate.js');
      const measure = argv.ranges ? calibrateRanges : calibrate;
      const count = await measure({ ...modelOptions(argv), texts: argv.texts, output: argv.output });
      process.stderr.write(`${argv.output}: ${argv.ranges ? 'ranges' : 'statistics'} of ${count} texts\n`);
    },
  );
}
