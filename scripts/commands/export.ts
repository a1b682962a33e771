import type { Argv } from 'yargs';
import { modelOptions, withModelOptions } from './model-options.js';

export function exportCommand(root: Argv): Argv {
  return root.command(
    'export',
    'Write a model as an ONNX embedder folder that other tools open, and verify it',
    (yargs) =>
      withModelOptions(yargs)
        .option('output', {
          type: 'string',
          demandOption: true,
          requiresArg: true,
          describe: 'the embedder folder',
        })
        .option('overwrite', {
          type: 'boolean',
          default: false,
          describe: 'replace an older embedder folder',
        })
        .example('$0 export --model runs/x/best --output embedder/', ''),
    async (argv) => {
      const model = modelOptions(argv);
      const { exportEmbedder } = await import('../../src/recipes/export.js');
      process.stderr.write(
        `${await exportEmbedder({ ...model, output: argv.output, overwrite: argv.overwrite })}\n`,
      );
    },
  );
}
