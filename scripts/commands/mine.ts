import type { Argv } from 'yargs';
import { deviceChoices } from '../../src/compiler/device.js';
import { userError } from '../../src/shared/errors.js';
import { whole } from './model-options.js';

export function mineCommand(root: Argv): Argv {
  return root.command(
    'mine',
    'Find hard negatives for pairs, with any embedder as teacher',
    (yargs) =>
      yargs
        .option('model', {
          type: 'string',
          requiresArg: true,
          demandOption: true,
          describe: 'the teacher: any model that embeds, or a folder with an ONNX embedder of another tool',
        })
        .option('method', {
          type: 'string',
          requiresArg: true,
          describe: 'how a decoder embeds without training: a name of lmvec methods, or a YAML file',
        })
        .option('input', {
          type: 'string',
          requiresArg: true,
          demandOption: true,
          describe: 'pairs: TSV, CSV, JSON lines or parquet; wordnet-word-to-gloss; files joined by commas',
        })
        .option('query', {
          type: 'string',
          requiresArg: true,
          describe: 'column; default: query, else the first',
        })
        .option('positive', {
          type: 'string',
          requiresArg: true,
          describe: 'column; default: positive, else the second',
        })
        .option('corpus', {
          type: 'string',
          requiresArg: true,
          describe: 'further texts that may become negatives; files joined by commas',
        })
        .option('output', {
          type: 'string',
          requiresArg: true,
          demandOption: true,
          describe: 'a .jsonl file of query, positive, negatives, scores: a set of kind tuples',
        })
        .option('query-prompt', {
          type: 'string',
          requiresArg: true,
          describe: "the teacher's frame of queries",
        })
        .option('document-prompt', {
          type: 'string',
          requiresArg: true,
          describe: "the teacher's frame of documents",
        })
        .option('negatives', { type: 'number', requiresArg: true, default: 7, describe: 'of each pair' })
        .option('from', {
          type: 'number',
          requiresArg: true,
          default: 0,
          describe: 'ranks that are passed over, of texts that are not too good',
        })
        .option('to', {
          type: 'number',
          requiresArg: true,
          default: 100,
          describe: 'ranks that are looked at',
        })
        .option('perc', {
          type: 'number',
          requiresArg: true,
          default: 0.95,
          describe: "a negative's score is below this share of the positive's; 1 and more: any",
        })
        .option('abs', {
          type: 'number',
          requiresArg: true,
          describe: "a negative's score is below the positive's by more than this",
        })
        .option('max-score', { type: 'number', requiresArg: true, describe: 'highest score of a negative' })
        .option('min-score', { type: 'number', requiresArg: true, describe: 'lowest score of a negative' })
        .option('sampling', {
          choices: ['top', 'random'] as const,
          default: 'top' as const,
          describe: 'the hardest, or any of what is left',
        })
        .option('seed', { type: 'number', requiresArg: true, default: 0, describe: 'of random sampling' })
        .option('threads', { type: 'number', requiresArg: true, describe: 'CPU threads (default: all)' })
        .option('device', { choices: deviceChoices, requiresArg: true, describe: 'where the model runs' })
        .example('$0 mine --model runs/x/best --input pairs.tsv --output mined.jsonl', ''),
    async (argv) => {
      const { mineNegatives } = await import('../../src/recipes/mine.js');
      const { exampleSetSchema } = await import('../../src/data/example-schema.js');
      const { createCounter } = await import('../../src/shared/counter.js');
      const negatives = whole(argv.negatives, '--negatives', 1) ?? 7;
      const range = [whole(argv.from, '--from', 0) ?? 0, whole(argv.to, '--to', 1) ?? 100] as const;
      if (range[1] - range[0] < negatives)
        throw userError({
          what: 'fewer ranks than negatives',
          where: '--from, --to',
          got: `${range[0]} to ${range[1]}`,
          expected: `at least ${negatives} ranks`,
        });
      const threads = whole(argv.threads, '--threads', 1);
      const columns = {
        ...(argv.query === undefined ? {} : { query: argv.query }),
        ...(argv.positive === undefined ? {} : { positive: argv.positive }),
      };
      const counter = createCounter(process.stderr);
      const result = await mineNegatives({
        model: argv.model,
        set: exampleSetSchema.parse({ kind: 'pairs', path: listOf(argv.input), columns }),
        output: argv.output,
        negatives,
        range,
        sampling: argv.sampling,
        seed: whole(argv.seed, '--seed', 0) ?? 0,
        ...(argv.perc >= 1 ? {} : { shareOfPositive: argv.perc }),
        margin: argv.abs,
        highest: argv['max-score'],
        lowest: argv['min-score'],
        ...(argv.corpus === undefined ? {} : { corpus: listOf(argv.corpus) }),
        ...(argv.method === undefined ? {} : { method: argv.method }),
        ...(argv['query-prompt'] === undefined ? {} : { queryPrompt: argv['query-prompt'] }),
        ...(argv['document-prompt'] === undefined ? {} : { documentPrompt: argv['document-prompt'] }),
        ...(threads === undefined ? {} : { threads }),
        ...(argv.device === undefined ? {} : { device: argv.device }),
        onProgress: counter.update,
      });
      counter.end();
      process.stdout.write(
        `${result.examples} pairs with ${result.negatives} negatives; ${result.short} have fewer than ${negatives}, of which ${result.without} none\n`,
      );
    },
  );
}

function listOf(names: string): string[] {
  return names
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}
