import type { Argv } from 'yargs';
import { modelOptions, whole, withModelOptions } from './model-options.js';
import { precisionOptions, withPrecisionOptions } from './precision-options.js';

export function evaluateCommand(root: Argv): Argv {
  return root.command(
    'evaluate',
    'Score a model on sets of sentence pairs, beside its baselines',
    (yargs) =>
      withPrecisionOptions(withModelOptions(yargs))
        .option('tasks', {
          type: 'string',
          default: 'WordNetSTS',
          requiresArg: true,
          describe: 'names (STS12-16, STSb, SICK-R, WordNetSTS, all) or TSV files, joined by commas',
        })
        .option('data', {
          type: 'string',
          default: 'embedded',
          requiresArg: true,
          describe: 'folder with one folder per set',
        })
        .option('protocol', {
          choices: ['mteb', 'senteval'] as const,
          default: 'mteb' as const,
          requiresArg: true,
          describe: 'original or tokenised text',
        })
        .option('split', {
          choices: ['dev', 'test'] as const,
          default: 'test' as const,
          requiresArg: true,
          describe: 'part of the sets',
        })
        .option('every-nth-row', {
          type: 'number',
          default: 1,
          requiresArg: true,
          describe: 'rows 1, 1 + n, ... only',
        })
        .option('bootstrap', {
          type: 'number',
          default: 1000,
          requiresArg: true,
          describe: 'resamples of the intervals; 0: none',
        })
        .option('baselines', {
          type: 'boolean',
          default: true,
          describe: 'bag of words and tf-idf in the table',
        })
        .option('soft-cosine', {
          type: 'boolean',
          default: false,
          describe: 'the soft cosine of its input embeddings (word vectors) in the table',
        })
        .option('untouched', {
          type: 'string',
          requiresArg: true,
          describe: 'a decoder whose untrained embeddings stand in the table',
        })
        .option('compare-with', {
          type: 'string',
          requiresArg: true,
          describe: 'a second model: paired bootstrap',
        })
        .option('output', {
          type: 'string',
          requiresArg: true,
          describe: "folder for result files in MTEB's layout",
        })
        .example(
          '$0 evaluate --model runs/x/best --tasks STSb,STS15 --data path/to/sets --output results/',
          '',
        ),
    async (argv) => {
      const model = modelOptions(argv);
      const everyNthRow = whole(argv['every-nth-row'], '--every-nth-row', 1) ?? 1;
      const bootstrap = whole(argv.bootstrap, '--bootstrap', 0) ?? 1000;
      const { evaluate } = await import('../../src/recipes/evaluate.js');
      const report = await evaluate({
        model,
        ...precisionOptions(argv),
        tasks: argv.tasks
          .split(',')
          .map((task) => task.trim())
          .filter((task) => task !== ''),
        folder: argv.data,
        protocol: argv.protocol,
        split: argv.split,
        everyNthRow,
        bootstrap,
        baselines: argv.baselines,
        softCosine: argv['soft-cosine'],
        ...(argv.untouched === undefined ? {} : { untouched: argv.untouched }),
        ...(argv['compare-with'] === undefined ? {} : { compareWith: { model: argv['compare-with'] } }),
        ...(argv.output === undefined ? {} : { output: argv.output }),
      });
      process.stdout.write(`${report.text}\n`);
      if (report.files.length > 0) process.stderr.write(`${report.files.join('\n')}\n`);
    },
  );
}
