import type { Argv } from 'yargs';
import { modelOptions, withModelOptions } from './model-options.js';
import { precisionOptions, withPrecisionOptions } from './precision-options.js';

export function embedCommand(root: Argv): Argv {
  return root.command(
    'embed',
    'Turn texts, one a line, into vectors',
    (yargs) =>
      withPrecisionOptions(withModelOptions(yargs))
        .option('input', {
          type: 'string',
          default: '-',
          requiresArg: true,
          describe: 'a text file; -: standard input',
        })
        .option('output', {
          type: 'string',
          default: '-',
          requiresArg: true,
          describe: 'a .jsonl or .npy file; -: standard output',
        })
        .option('format', {
          choices: ['jsonl', 'npy'] as const,
          requiresArg: true,
          describe: "default: as the output's name says",
        })
        .example('$0 embed --model embedder/ --input sentences.txt --output vectors.jsonl', '')
        .example('$0 embed --model model.gguf --method prompt-eol --input s.txt --output v.npy', ''),
    async (argv) => {
      const model = modelOptions(argv);
      const { embed } = await import('../../src/recipes/embed.js');
      const live = process.stderr.isTTY && argv.output !== '-';
      const texts = await embed({
        ...model,
        ...precisionOptions(argv),
        input: argv.input,
        output: argv.output,
        ...(argv.format === undefined ? {} : { format: argv.format }),
        ...(live ? { onProgress: (done, all) => process.stderr.write(`\r${done}/${all} texts`) } : {}),
      });
      if (argv.output !== '-') process.stderr.write(`${live ? '\r' : ''}${texts} texts -> ${argv.output}\n`);
    },
  );
}
