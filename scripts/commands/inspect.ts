import type { Argv } from 'yargs';
import { modelOptions, withModelOptions } from './model-options.js';

export function inspectCommand(root: Argv): Argv {
  return root.command(
    'inspect',
    'Show what a model is: parameters, lineage, attention mode, probe result',
    (yargs) => withModelOptions(yargs).example('$0 inspect --model runs/x/best', ''),
    async (argv) => {
      const options = modelOptions(argv);
      const { stringify } = await import('yaml');
      const { openModel } = await import('../../src/recipes/open-model.js');
      const model = await openModel(options);
      try {
        process.stdout.write(stringify(model.description));
      } finally {
        await model.close();
      }
    },
  );
}
