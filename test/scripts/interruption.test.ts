import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { lmvec, root, type CommandOptions } from './command.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const folder = await mkdtemp(join(tmpdir(), 'lmvec-interruption-'));
const cwd = folder;

const stage = 'batchTexts: 4, maxTokens: 32, learningRate: 1e-2, attentionDropout: 0.1';
const recipe = `
model: ${join(root, 'test/golden/llama/base')}
tuning: { type: lora, rank: 2, alpha: 4, dropout: 0.1 }
data: { train: texts.txt }
stages:
  mntp: { objective: mntp, maxSteps: 4, ${stage} }
  simcse: { objective: simcse, maxSteps: 6, ${stage} }
evaluate: { tasks: [${join(root, 'assets/wordnet-sts/dev.tsv')}], everyNthRow: 100, everySteps: 2 }
export: { files: [] }
train: { checkpointEverySteps: 2, logEverySteps: 1, threads: 1 }
output: undisturbed
`;

const train = (output: string, options: Partial<CommandOptions> = {}, overrides: string[] = []) =>
  lmvec(['train', '--config', 'recipe.yaml', `output=${output}`, ...overrides], { cwd, ...options });
const resume = (output: string) => lmvec(['train', '--resume', output], { cwd });

const weightsOf = (output: string) => readFile(join(folder, output, 'last/adapter_model.safetensors'), 'hex');

/** Sends a signal as soon as standard error tells of a step. */
function signalAt(step: string, signal: NodeJS.Signals): Pick<CommandOptions, 'onError'> {
  let sent = false;
  return {
    onError: (soFar, kill) => {
      if (sent || !soFar.includes(step)) return;
      sent = true;
      kill(signal);
    },
  };
}

beforeAll(async () => {
  const texts = Array.from(
    { length: 40 },
    (_, i) => `the cat ${i} sat on ${'that mat and '.repeat(i % 4)}end`,
  );
  await writeFile(join(folder, 'texts.txt'), `${texts.join('\n')}\n`);
  await writeFile(join(folder, 'recipe.yaml'), recipe);
  const { status, stderr } = await train('undisturbed');
  expect(stderr).toContain('simcse step 6/6');
  expect(status).toBe(0);
});

describe('a run that is killed', () => {
  it('goes on from its checkpoint over the lock of the dead process, to the same weights', async () => {
    const killed = await train('killed', signalAt('simcse step 3/6', 'SIGKILL'));
    expect(killed.status).toBeNull();
    expect(await readdir(join(folder, 'killed'))).toContain('lock.json');
    const resumed = await resume('killed');
    expect(resumed.stderr).toMatch(/resuming killed: stage simcse, step [24]\n/);
    expect(resumed.status).toBe(0);
    expect(await weightsOf('killed')).toBe(await weightsOf('undisturbed'));
    expect(await readdir(join(folder, 'killed'))).not.toContain('lock.json');
    const places = (await readFile(join(folder, 'killed/metrics.jsonl'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ kind }) => kind === 'step')
      .map(({ stage: name, step }) => `${String(name)} ${String(step)}`);
    expect(places).toEqual(
      [4, 6].flatMap((steps, i) =>
        Array.from({ length: steps }, (_, step) => `${['mntp', 'simcse'][i] ?? ''} ${step + 1}`),
      ),
    );
  });

  it('before its first checkpoint starts at step 0', async () => {
    const killed = await train('early', signalAt('mntp step 1/4', 'SIGKILL'), [
      'train.checkpointEverySteps=4',
    ]);
    expect(killed.status).toBeNull();
    const resumed = await resume('early');
    expect(resumed.stderr).toContain('resuming early: there is no checkpoint, so it starts at step 0');
    expect(resumed.status).toBe(0);
    expect(await weightsOf('early')).toBe(await weightsOf('undisturbed'));
  });
});

describe('a run that is interrupted', () => {
  it('saves where it stands, exits with 130 and says how to go on', async () => {
    const stopped = await train('stopped', signalAt('mntp step 1/4', 'SIGINT'));
    expect(stopped.stderr).toContain('finishing the step under way, then saving');
    const place = /interrupted at step (\d) of stage (\w+); go on with: lmvec train --resume stopped/.exec(
      stopped.stderr,
    );
    expect(place).not.toBeNull();
    expect(stopped.status).toBe(130);
    const resumed = await resume('stopped');
    expect(resumed.stderr).toContain(`resuming stopped: stage ${place?.[2] ?? ''}, step ${place?.[1] ?? ''}`);
    expect(resumed.status).toBe(0);
    expect(await weightsOf('stopped')).toBe(await weightsOf('undisturbed'));
  });
});

describe('a run that breaks', () => {
  it('stops with one sentence and keeps the last good checkpoint', async () => {
    const { status, stderr } = await train('broken', {}, [
      'stages.mntp.learningRate=1e30',
      'stages.mntp.clipNorm=null',
      'train.checkpointEverySteps=1',
    ]);
    const lines = stderr.trimEnd().split('\n');
    expect(lines.at(-1)).toMatch(
      /^the (loss|gradient norm) of stage mntp became (NaN|-?Infinity) at step \d/,
    );
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(status).toBe(2);
    expect(await readdir(join(folder, 'broken/checkpoints'))).toEqual([
      expect.stringMatching(/^mntp-step-00000\d$/),
    ]);
    expect(await readdir(join(folder, 'broken'))).not.toContain('last');
  });
});
