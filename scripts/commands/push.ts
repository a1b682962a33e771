import type { Argv } from 'yargs';

export function pushCommand(root: Argv): Argv {
  return root.command(
    'push',
    'Upload an exported embedder to the hub',
    (yargs) =>
      yargs
        .option('model', {
          type: 'string',
          demandOption: true,
          requiresArg: true,
          describe: 'an embedder folder, or a run folder with one',
        })
        .option('repo', {
          type: 'string',
          demandOption: true,
          requiresArg: true,
          describe: 'owner/name; made where it is not there yet',
        })
        .option('private', {
          type: 'boolean',
          default: false,
          describe: 'only its owner may see it',
        })
        .option('token', {
          type: 'string',
          requiresArg: true,
          describe: 'of the hub, with the right to write; HF_TOKEN where it is left out',
        })
        .example('$0 push --model runs/x --repo owner/name', ''),
    async (argv) => {
      const { pushEmbedder } = await import('../../src/recipes/push.js');
      const sentence = await pushEmbedder({
        model: argv.model,
        repo: argv.repo,
        private: argv.private,
        ...(argv.token === undefined ? {} : { token: argv.token }),
      });
      process.stderr.write(`${sentence}\n`);
    },
  );
}
