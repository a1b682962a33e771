import type { Argv } from 'yargs';

export function setupCommand(root: Argv): Argv {
  return root.command(
    'setup <part>',
    'Install what a device needs: tensorflow or cuda',
    (yargs) =>
      yargs
        .positional('part', { choices: ['tensorflow', 'cuda'] as const, demandOption: true })
        .option('gpu', {
          type: 'boolean',
          default: false,
          describe: "tensorflow: the build for NVIDIA's GPUs, which looks for CUDA 12 and cuDNN 9",
        })
        .option('wheel', {
          type: 'string',
          requiresArg: true,
          describe: 'the wheel, where it was fetched elsewhere; its hash is checked',
        })
        .example('$0 setup tensorflow', '')
        .example('$0 setup cuda --wheel onnxruntime_gpu-1.30.0-….whl', ''),
    async ({ part, gpu, wheel }) => {
      const onStep = (sentence: string): void => void process.stderr.write(`${sentence} ...\n`);
      const given = { onStep, ...(wheel === undefined ? {} : { wheel }) };
      const { setupTensorFlow } = await import('../../src/recipes/setup/tensorflow.js');
      const { setupCuda } = await import('../../src/recipes/setup/cuda.js');
      const sentence =
        part === 'tensorflow' ? await setupTensorFlow({ gpu, ...given }) : await setupCuda(given);
      process.stderr.write(`${sentence}\n`);
    },
  );
}
