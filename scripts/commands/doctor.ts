import type { Argv } from 'yargs';

export function doctorCommand(root: Argv): Argv {
  return root.command(
    'doctor',
    'What this machine has, which devices work, and how fast they are',
    (yargs) => yargs.option('json', { type: 'boolean', default: false, describe: 'as JSON' }),
    async ({ json }) => {
      const { examineMachine, machineLines } = await import('../../src/recipes/doctor.js');
      const report = await examineMachine();
      console.log(json ? JSON.stringify(report, null, 2) : machineLines(report).join('\n'));
    },
  );
}
