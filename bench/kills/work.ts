import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { KilledCommand } from './loop.js';

/** A small run through all that writes: two stages (the second merges the first), checkpoints, best/, an exported graph. */
export function smallRun(model: string, evaluation: string): string {
  const stage = 'batchTexts: 4, maxTokens: 24, learningRate: 1e-2, attentionDropout: 0.1';
  return `
model: ${model}
tuning: { type: lora, rank: 2, alpha: 4, dropout: 0.1 }
data: { train: texts.txt }
stages:
  mntp: { objective: mntp, maxSteps: 3, ${stage} }
  simcse: { objective: simcse, maxSteps: 3, ${stage} }
evaluate: { tasks: [${evaluation}], everyNthRow: 100, everySteps: 1 }
export: { files: [float32] }
train: { checkpointEverySteps: 1, logEverySteps: 1, threads: 1 }
output: run
`;
}

export interface Work {
  readonly command: KilledCommand;
  /** Hash of what it makes: of all weights and graphs. */
  result(): Promise<string>;
  clear(): Promise<void>;
}

/** The commands that are killed, in `folder`. `lmvec` is the program and the words before its own. */
export async function prepareWork(
  folder: string,
  {
    lmvec,
    model,
    evaluation,
  }: { readonly lmvec: readonly string[]; readonly model: string; readonly evaluation: string },
): Promise<{ readonly train: Work; readonly export: Work }> {
  await mkdir(folder, { recursive: true });
  const texts = Array.from(
    { length: 40 },
    (_, i) => `the cat ${i} sat on ${'that mat and '.repeat(i % 4)}end`,
  );
  await writeFile(join(folder, 'texts.txt'), `${texts.join('\n')}\n`);
  await writeFile(join(folder, 'run.yaml'), smallRun(model, evaluation));
  const work = (
    output: string,
    words: { readonly begin: string[]; readonly goOn: string[]; readonly mostChanges: number },
  ): Work => {
    const path = join(folder, output);
    return {
      command: {
        begin: [...lmvec, ...words.begin],
        goOn: [...lmvec, ...words.goOn],
        cwd: folder,
        output: path,
        mostChanges: words.mostChanges,
      },
      result: () => resultOf(path),
      clear: () => rm(path, { recursive: true, force: true }),
    };
  };
  const exporting = ['export', '--model', 'trained/best', '--output', 'exported'];
  return {
    train: work('run', {
      begin: ['train', '--config', 'run.yaml'],
      goOn: ['train', '--resume', 'run'],
      mostChanges: 160,
    }),
    export: work('exported', { begin: exporting, goOn: [...exporting, '--overwrite'], mostChanges: 30 }),
  };
}

/** Of the weights and graphs: what a run writes besides has times in it. */
async function resultOf(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const names = (await readdir(folder, { recursive: true }))
    .filter((name) => /\.(safetensors|onnx)$/.test(name))
    .sort();
  if (names.length === 0) throw new Error(`${folder} holds no weights`);
  for (const name of names) hash.update(name).update(await readFile(join(folder, name)));
  return hash.digest('hex');
}
