import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { assetPath } from '../src/shared/package.js';
import { killLoop, runUndisturbed } from './kills/loop.js';
import { prepareWork } from './kills/work.js';
import { nodeCommand } from './processes.js';

/** Kills train and export at random moments until each has been killed `kills` times, and compares what they make with what an undisturbed one makes. */
async function main(): Promise<void> {
  const settings = await yargs(hideBin(process.argv))
    .option('kills', { type: 'number', default: 200 })
    .option('seed', { type: 'number', default: 1 })
    .option('model', { type: 'string', default: 'embedded' })
    .strict()
    .parseAsync();
  const { command, arguments: words } = nodeCommand(import.meta.url, '../scripts/lmvec');
  const folder = await mkdtemp(join(tmpdir(), 'lmvec-kills-'));
  try {
    const works = await prepareWork(folder, {
      lmvec: [command, ...words],
      model: settings.model,
      evaluation: assetPath('wordnet-sts', 'dev.tsv'),
    });
    for (const name of ['train', 'export'] as const) {
      const work = works[name];
      const { command: killed } = work;
      const start = performance.now();
      await runUndisturbed(killed);
      const expected = await work.result();
      if (name === 'train') await rename(killed.output, join(folder, 'trained'));
      else await work.clear();
      const report = await killLoop(killed, {
        kills: name === 'train' ? settings.kills : Math.ceil(settings.kills / 4),
        seed: settings.seed,
        onFinished: async () => {
          if ((await work.result()) !== expected)
            throw new Error(`${name}: the weights are not those of the undisturbed run`);
          await work.clear();
        },
        onKill: (kills) => {
          if (kills % 20 === 0) console.error(`${name}: ${kills} kills`);
        },
      });
      await work.clear();
      console.log(
        JSON.stringify({ name, ...report, seconds: Math.round((performance.now() - start) / 1000) }),
      );
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
