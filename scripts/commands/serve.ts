import type { Argv } from 'yargs';
import { userError } from '../../src/shared/errors.js';
import { createLogger } from '../../src/shared/logger.js';
import { modelOptions, whole, withModelOptions } from './model-options.js';

export function serveCommand(root: Argv): Argv {
  return root.command(
    'serve',
    "Serve a model over HTTP: OpenAI's /v1/embeddings, text-embeddings-inference's /embed",
    (yargs) =>
      withModelOptions(yargs)
        .option('host', {
          type: 'string',
          default: '127.0.0.1',
          requiresArg: true,
          describe: 'address to listen at; 0.0.0.0: all of this machine',
        })
        .option('port', { type: 'number', default: 8080, requiresArg: true, describe: '0: any that is free' })
        .option('name', {
          type: 'string',
          requiresArg: true,
          describe: "what clients call the model (default: its folder's name)",
        })
        .option('batch-tokens', {
          type: 'number',
          default: 16_384,
          requiresArg: true,
          describe: 'tokens of one run of the model',
        })
        .option('queue-texts', {
          type: 'number',
          default: 8192,
          requiresArg: true,
          describe: 'texts that may wait; more are refused (429)',
        })
        .option('request-texts', {
          type: 'number',
          default: 2048,
          requiresArg: true,
          describe: 'texts of one request',
        })
        .option('truncate', {
          type: 'boolean',
          default: true,
          describe: 'cut texts that are too long; --no-truncate: refuse them',
        })
        .option('api-key', {
          type: 'string',
          requiresArg: true,
          describe: 'asked of every client; default: LMVEC_API_KEY, where it is set',
        })
        .example('$0 serve --model embedder/ --port 8080', ''),
    async (argv) => {
      const model = modelOptions(argv);
      const port = whole(argv.port, '--port', 0) ?? 0;
      if (port > 65535)
        throw userError({ what: 'not a port', where: '--port', got: String(port), expected: '0 to 65535' });
      const apiKey = argv['api-key'] ?? process.env['LMVEC_API_KEY'];
      const log = createLogger();
      const { serve } = await import('../../src/recipes/serve.js');
      const server = await serve({
        ...model,
        host: argv.host,
        port,
        ...(argv.name === undefined ? {} : { name: argv.name }),
        batchTokens: whole(argv['batch-tokens'], '--batch-tokens', 1) ?? 1,
        queueTexts: whole(argv['queue-texts'], '--queue-texts', 1) ?? 1,
        requestTexts: whole(argv['request-texts'], '--request-texts', 1) ?? 1,
        truncate: argv.truncate,
        ...(apiKey === undefined || apiKey === '' ? {} : { apiKey }),
        log,
      });
      const told = new Promise<void>((resolve) => {
        const stop = (): void => {
          // A second signal ends the process at once.
          process.off('SIGINT', stop).off('SIGTERM', stop);
          log.info('ending: what was asked is still answered');
          resolve();
        };
        process.on('SIGINT', stop).on('SIGTERM', stop);
      });
      log.info(`${server.name} is served at ${server.url} (Ctrl-C ends it)`);
      await told;
      await server.close();
    },
  );
}
