import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { describeRun } from '../../src/recipes/dry-run.js';
import { runPaths } from '../../src/recipes/run-folder.js';
import type { InputFile, RunRecord } from '../../src/recipes/run-record.js';
import { runSchema, type RunConfig } from '../../src/recipes/schema.js';
import { resume, train, type TrainOptions } from '../../src/recipes/train.js';
import type { OpenTrainingParts } from '../../src/recipes/training-parts.js';
import { UserError } from '../../src/shared/errors.js';
import { hashString } from '../../src/shared/random.js';
import type { Progress } from '../../src/shared/progress.js';
import { quadraticStage } from '../training/quadratic-stage.js';

let base = '';
let messages: string[] = [];

const progress: Progress = {
  update: () => undefined,
  message: (text) => void messages.push(text),
  end: () => undefined,
};

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'lmvec-train-'));
  messages = [];
  const rows = [
    'score\tsentence1\tsentence2',
    '5\ta cat sat\ta cat sits',
    '1\tthe dog ran\tsome blue sky',
    '3\tred wine\twhite wine',
    '0\tone\tzzz',
  ];
  await writeFile(join(base, 'pairs.tsv'), `${rows.join('\n')}\n`);
});

function configOf(output: string): RunConfig {
  const stage = 'batchTexts: 2, maxTokens: 8, learningRate: 1e-3';
  const text = `{model: embedded, output: ${JSON.stringify(join(base, output))},
    stages: {a: {objective: mntp, maxSteps: 11, ${stage}}, b: {objective: simcse, maxSteps: 9, ${stage}}},
    evaluate: {tasks: [${JSON.stringify(join(base, 'pairs.tsv'))}], everySteps: 3}, train: {checkpointEverySteps: 4}}`;
  return parseConfig(text, { file: 'run.yaml', overrides: [], schema: runSchema }).config;
}

interface Disturbance {
  /** Before this step of a stage (from 0), this happens. */
  readonly stage: string;
  readonly at: number;
  readonly does: () => void;
  readonly breaks?: boolean;
  readonly overflows?: boolean;
}

function openParts(disturbance?: Disturbance): OpenTrainingParts {
  return (config) =>
    Promise.resolve({
      inputs: [],
      texts: { kept: 3, decontaminated: 1 },
      createStage: ({ name, previous }) => {
        const own = disturbance?.stage === name ? disturbance : undefined;
        const start = previous.at(-1)?.parameters;
        return Promise.resolve(
          quadraticStage({
            size: 16,
            seed: config.train.seed + hashString(name),
            ...(start === undefined ? {} : { start }),
            ...(own?.breaks === true ? { breaksAt: own.at } : {}),
            ...(own?.overflows === true ? { overflowsAt: own.at } : {}),
            onStep: (index) => {
              if (index === own?.at) own.does();
            },
          }),
        );
      },
      exportEmbedder: async (model, output) => {
        const { cp } = await import('node:fs/promises');
        await cp(model, output, { recursive: true });
        return 'embedder written';
      },
      close: () => Promise.resolve(),
    });
}

const options = (disturbance?: Disturbance): TrainOptions => ({
  progress,
  openParts: openParts(disturbance),
});

/** Everything of a run that must not depend on whether it was stopped. */
async function outcome(folder: string) {
  const weights = (model: string) => readFile(join(folder, model, 'weights.bin'), 'hex');
  const metrics = (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n');
  return {
    best: await weights('best'),
    last: await weights('last'),
    embedder: await weights('embedder'),
    checkpoints: (await readdir(join(folder, 'checkpoints'))).sort(),
    metrics: metrics.map((line) => {
      const { kind, stage, step, loss, score } = JSON.parse(line) as Record<string, unknown>;
      return { kind, stage, step, loss, score };
    }),
  };
}

const recordOf = async (folder: string) =>
  JSON.parse(await readFile(runPaths(folder).record, 'utf8')) as RunRecord;

describe('a run', () => {
  it('tells of a step whose gradients left float16, and goes on', async () => {
    const config = configOf('overflow');
    const does = (): void => undefined;
    const result = await train(config, options({ stage: 'a', at: 4, does, overflows: true }));
    expect(result.status).toBe('finished');
    expect(messages).toContain('a step 5 was skipped: its gradients left float16 at a loss scale of 65536');
    const lines = (await readFile(join(config.output, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n');
    const skipped = lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line['skipped'] === true);
    expect(skipped).toMatchObject([{ stage: 'a', step: 5, lossScale: 65536, gradientNorm: null }]);
  });

  it('goes through its stages and leaves everything in its folder', async () => {
    const config = configOf('whole');
    const result = await train(config, options());
    expect(result).toMatchObject({ status: 'finished', stage: 'b', step: 9, folder: config.output });
    expect((await readdir(config.output)).sort()).toEqual([
      'best',
      'checkpoints',
      'config.resolved.yaml',
      'embedder',
      'last',
      'metrics.jsonl',
      'report.html',
      'results',
      'run.json',
    ]);
    const { metrics, checkpoints, best, embedder } = await outcome(config.output);
    expect(checkpoints).toEqual(['a-final', 'b-final', 'b-step-000008', 'b-step-000009']);
    expect(embedder).toBe(best);
    const evaluated = metrics
      .filter(({ kind }) => kind === 'evaluation')
      .map(({ stage, step }) => `${String(stage)}${String(step)}`);
    expect(evaluated).toEqual(['a0', 'a3', 'a6', 'a9', 'a11', 'b3', 'b6', 'b9']);
    expect(metrics.filter(({ kind }) => kind === 'step')).toHaveLength(20);
    expect(await recordOf(config.output)).toMatchObject({
      status: 'finished',
      seed: 42,
      texts: { kept: 3, decontaminated: 1 },
      stages: [
        { name: 'a', objective: 'mntp', steps: 11 },
        { name: 'b', objective: 'simcse', steps: 9 },
      ],
      resumed: [],
    });
    expect(result.report).toMatch(/tf-idf[\s\S]*before training[\s\S]*best against before training/);
  });

  it('begins a stage with what the one before learned', async () => {
    const config = configOf('whole');
    await train(config, options());
    const { metrics } = await outcome(config.output);
    const losses = metrics.filter(({ kind }) => kind === 'step').map(({ loss }) => Number(loss));
    expect(losses[11]).toBeLessThan(losses[0]!);
  });

  it.each([
    ['a', 0],
    ['a', 2],
    ['a', 4],
    ['a', 10],
    ['b', 0],
    ['b', 7],
  ])('that died in stage %s before step %i ends as if it had not', async (stage, at) => {
    const undisturbed = configOf('undisturbed');
    await train(undisturbed, options());
    const config = configOf('stopped');
    const death: Disturbance = {
      stage,
      at,
      does: () => {
        throw new Error('power cut');
      },
    };
    await expect(train(config, options(death))).rejects.toThrow('power cut');
    const result = await resume(config.output, options());
    expect(result.status).toBe('finished');
    expect(messages.some((message) => /^resuming .* step \d+$/.test(message))).toBe(true);
    expect(await outcome(config.output)).toEqual(await outcome(undisturbed.output));
    expect((await recordOf(config.output)).stages.map(({ name }) => name)).toEqual(['a', 'b']);
  });

  it('that is interrupted saves where it stands and goes on from there', async () => {
    const undisturbed = configOf('undisturbed');
    await train(undisturbed, options());
    const config = configOf('interrupted');
    const controller = new AbortController();
    const interrupt = { stage: 'a', at: 5, does: () => controller.abort() };
    const stopped = await train(config, { ...options(interrupt), signal: controller.signal });
    expect(stopped).toMatchObject({ status: 'interrupted', stage: 'a', step: 6 });
    expect((await recordOf(config.output)).status).toBe('interrupted');
    await resume(config.output, options());
    expect(messages).toContain(`resuming ${config.output}: stage a, step 6`);
    const [ours, theirs] = [await outcome(config.output), await outcome(undisturbed.output)];
    expect(ours).toEqual(theirs);
  });

  it('goes on only with the model and the texts that it was started with', async () => {
    const controller = new AbortController();
    const interrupt = { stage: 'a', at: 5, does: () => controller.abort() };
    const input = (path: string, sha256: string) => ({ path, bytes: 3, sha256 });
    const withInputs =
      (inputs: readonly InputFile[], disturbance?: Disturbance): OpenTrainingParts =>
      async (given) => ({ ...(await openParts(disturbance)(given)), inputs });
    const inputs = [input('m/config.json', 'aa'), input('texts.txt', 'bb')];
    const config = configOf('other');
    await train(config, {
      progress,
      openParts: withInputs(inputs, interrupt),
      signal: controller.signal,
    });
    const goOn = (now: readonly InputFile[]) =>
      resume(config.output, { progress, openParts: withInputs(now) });
    await expect(goOn([inputs[0]!, input('texts.txt', 'cc')])).rejects.toThrow(
      'texts.txt: this is not what the run was started with, so it cannot go on: got other content, or none',
    );
    await expect(goOn([...inputs, input('more.txt', 'cc')])).rejects.toThrow(/^more\.txt: .*was not there/);
    expect(await readdir(join(config.output, 'checkpoints'))).toEqual(['a-step-000004', 'a-step-000006']);
    // The folder may have moved, and a note beside the weights changes nothing.
    const moved = inputs.map((file) => ({ ...file, path: `elsewhere/${file.path}` }));
    const result = await goOn([...moved, input('elsewhere/m/README.md', 'dd')]);
    expect(result.status).toBe('finished');
  });

  it.each([
    ['run.json', 'null', /run\.json: /],
    ['run.json', '{}', /run\.json: broken run record: got status: /],
    ['results/before.json', '{', /before\.json: not valid JSON/],
    ['results/before.json', '[null]', /before\.json: broken results of the run: got 0: /],
    ['results/best.json', '[{"task": "x"}]', /best\.json: broken results of the run/],
  ])('with %s of %s is one sentence', async (name, content, sentence) => {
    const config = configOf('broken');
    const controller = new AbortController();
    const interrupt = { stage: 'b', at: 5, does: () => controller.abort() };
    await train(config, { ...options(interrupt), signal: controller.signal });
    await writeFile(join(config.output, name), content);
    const failure = resume(config.output, options());
    await expect(failure).rejects.toThrow(sentence);
    await expect(failure).rejects.toBeInstanceOf(UserError);
  });

  it('that is finished is not run again', async () => {
    const config = configOf('done');
    await train(config, options());
    const before = await outcome(config.output);
    expect((await resume(config.output, options())).status).toBe('already finished');
    expect(messages.at(-1)).toBe(`${config.output} is finished: there is nothing to resume`);
    expect(await outcome(config.output)).toEqual(before);
    expect(await readdir(config.output)).not.toContain('lock.json');
  });

  it('whose loss becomes NaN stops and keeps the last good checkpoint', async () => {
    const config = configOf('broken');
    const broken: Disturbance = { stage: 'a', at: 6, does: () => undefined, breaks: true };
    await expect(train(config, options(broken))).rejects.toThrow('the loss of stage a became NaN at step 7');
    expect(await readdir(join(config.output, 'checkpoints'))).toEqual(['a-step-000004']);
    expect(await readdir(config.output)).not.toContain('lock.json');
    await resume(config.output, options());
    expect(messages).toContain(`resuming ${config.output}: stage a, step 4`);
  });

  it('writes nothing where its folder exists or an evaluation set is missing', async () => {
    const config = configOf('whole');
    await train(config, options());
    await expect(train(config, options())).rejects.toThrow('the output folder exists');
    const missing = {
      ...configOf('other'),
      evaluate: { ...config.evaluate, tasks: [join(base, 'none.tsv')] },
    };
    await expect(train(missing, options())).rejects.toThrow('none.tsv');
    expect((await readdir(base)).sort()).toEqual(['pairs.tsv', 'whole']);
  });

  it('describes itself without writing anything', async () => {
    const text = await describeRun(configOf('dry'), openParts());
    expect(text).toContain('stage a (mntp)');
    expect(text).toContain('parameters: 16, of which trained: 16 (100.00 %)');
    expect(text).toContain('one text');
    expect(await readdir(base)).toEqual(['pairs.tsv']);
  });
});
