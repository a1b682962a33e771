import type { Argv } from 'yargs';
import { nearest, userError } from '../../src/shared/errors.js';
import { exportedWeights } from '../../src/export/schema.js';
import { exportFormats, type ExportFormat } from '../../src/pooling/manifest.js';
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
        .option('formats', {
          type: 'string',
          default: 'float32',
          requiresArg: true,
          describe: 'ONNX files, joined by commas: float32, fp16, int8, q4',
        })
        .option('dimensions', {
          type: 'number',
          requiresArg: true,
          describe: 'the first numbers of each vector only, for models trained for it (Matryoshka)',
        })
        .option('weights', {
          choices: exportedWeights,
          default: 'merged' as const,
          requiresArg: true,
          describe: 'beside the ONNX files: all weights, or one PEFT adapter on the base that was trained',
        })
        .option('tasks', {
          type: 'string',
          requiresArg: true,
          describe: 'evaluation sets on which each file is compared with the model, as of evaluate',
        })
        .option('data', {
          type: 'string',
          default: 'embedded',
          requiresArg: true,
          describe: 'folder with one folder per set',
        })
        .option('split', {
          choices: ['dev', 'test'] as const,
          default: 'dev' as const,
          requiresArg: true,
          describe: 'part of the sets',
        })
        .option('overwrite', {
          type: 'boolean',
          default: false,
          describe: 'replace an older embedder folder',
        })
        .example('$0 export --model runs/x/best --output embedder/', '')
        .example(
          '$0 export --model runs/x/best --output embedder/ --formats float32,int8 --tasks WordNetSTS',
          '',
        ),
    async (argv) => {
      const model = modelOptions(argv);
      const formats = listed(argv.formats).map(exportFormat);
      const { exportEmbedder } = await import('../../src/recipes/export.js');
      const sentence = await exportEmbedder({
        ...model,
        output: argv.output,
        overwrite: argv.overwrite,
        formats,
        weights: argv.weights,
        ...(argv.dimensions === undefined ? {} : { dimensions: argv.dimensions }),
        ...(argv.tasks === undefined
          ? {}
          : {
              evaluate: {
                tasks: listed(argv.tasks),
                folder: argv.data,
                split: argv.split,
                protocol: 'mteb' as const,
              },
            }),
      });
      process.stderr.write(`${sentence}\n`);
    },
  );
}

function exportFormat(word: string): ExportFormat {
  const format = exportFormats.find((name) => name === word);
  if (format !== undefined) return format;
  const near = nearest(word, exportFormats);
  throw userError({
    what: 'unknown format',
    where: '--formats',
    got: word,
    expected: exportFormats.join(', '),
    ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
  });
}

function listed(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}
