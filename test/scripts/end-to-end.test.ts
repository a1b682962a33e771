import { cp, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { jsonRows, largestDifference, lmvec, npyRows, root, type CommandResult } from './command.js';

// A busy machine makes processes slow, not wrong.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 600_000 });

const folder = await mkdtemp(join(tmpdir(), 'lmvec-end-to-end-'));
const cwd = folder;
const sentences = ['A man plays a guitar.', 'Someone is making music.', 'The stock market fell.'];

/** Fewer and smaller steps, and a tenth of the evaluation set: the same way in seconds. */
const quickly = [
  'data.maxTexts=300',
  'stages.mntp.maxSteps=2',
  'stages.mntp.batchTexts=4',
  'stages.simcse.maxSteps=2',
  'stages.simcse.batchTexts=4',
  'stages.simcse.warmupSteps=1',
  'evaluate.everyNthRow=10',
  'evaluate.everySteps=2',
  'train.checkpointEverySteps=1',
];

let trained: CommandResult;

beforeAll(async () => {
  await writeFile(join(folder, 'sentences.txt'), `${sentences.join('\n')}\n`);
  trained = await lmvec(
    ['train', '--config', join(root, 'configs/quickstart.yaml'), 'output=run', ...quickly],
    { cwd },
  );
});

async function embedded(...words: string[]): Promise<number[][]> {
  const { status, stdout, stderr } = await lmvec(['embed', ...words, '--input', 'sentences.txt'], { cwd });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return jsonRows(stdout);
}

describe('train', () => {
  it('tells what it does, and ends with the table', () => {
    expect(trained.stderr).toContain('mntp step 0: WordNetSTS ');
    expect(trained.stderr).toContain('simcse step 2/2  loss ');
    expect(trained.stdout).toMatch(/^bag of words .*\n^tf-idf .*\n^before training .*\n^best /m);
    expect(trained.stdout).toContain('best against before training: ');
    expect(trained.status).toBe(0);
  });

  it('fills its run folder', async () => {
    expect((await readdir(join(folder, 'run'))).sort()).toEqual(
      [
        'best',
        'checkpoints',
        'config.resolved.yaml',
        'embedder',
        'last',
        'metrics.jsonl',
        'report.html',
        'results',
        'run.json',
      ].sort(),
    );
    for (const model of ['best', 'last'])
      expect(await readdir(join(folder, 'run', model))).toEqual(
        expect.arrayContaining([
          'adapter_config.json',
          'adapter_model.safetensors',
          'tokenizer.json',
          'lmvec.json',
        ]),
      );
    expect(await readdir(join(folder, 'run/embedder'))).toEqual(
      expect.arrayContaining(['onnx', 'tokenizer.json', 'config.json', 'lmvec.json', 'model.safetensors']),
    );
    const metrics = (await readFile(join(folder, 'run/metrics.jsonl'), 'utf8')).trimEnd().split('\n');
    const places = metrics.map((line) => {
      const { kind, stage, step } = JSON.parse(line) as Record<string, unknown>;
      return `${String(kind)} ${String(stage)} ${String(step)}`;
    });
    expect(places).toEqual([
      'evaluation mntp 0',
      'step mntp 1',
      'step mntp 2',
      'evaluation mntp 2',
      'step simcse 1',
      'step simcse 2',
      'evaluation simcse 2',
    ]);
  });

  it('puts its results on the card of the embedder', async () => {
    const card = await readFile(join(folder, 'run/embedder/README.md'), 'utf8');
    const results = card.slice(card.indexOf('## Results'), card.indexOf('## Verification'));
    expect(results).toMatch(/^\| +\| protocol \| WordNetSTS 1\/10 \|$/m);
    for (const row of ['bag of words', 'tf-idf', 'before training', 'best'])
      expect(results).toMatch(new RegExp(`^\\| ${row} \\| file \\| -?\\d+\\.\\d\\d \\[`, 'm'));
    expect(results).toContain('split dev; protocol file');
    expect(results).toContain('best against before training: ');
  });

  it('refuses a folder that exists, and changes nothing in it', async () => {
    const files = async () => {
      const names = (await readdir(join(folder, 'run'), { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
        .sort();
      return Promise.all(names.map(async (name) => [name, await readFile(name, 'base64')]));
    };
    const before = await files();
    const { status, stdout, stderr } = await lmvec(
      ['train', '--config', join(root, 'configs/quickstart.yaml'), 'output=run', ...quickly],
      { cwd },
    );
    expect(stderr).toBe(
      'run: the output folder exists (go on with it: --resume run; replace it: --overwrite; or choose another: output=...)\n',
    );
    expect([status, stdout]).toEqual([2, '']);
    expect(await files()).toEqual(before);
  });

  it('--resume on a finished run says so', async () => {
    const { status, stderr } = await lmvec(['train', '--resume', 'run'], { cwd });
    expect(stderr).toContain('run is finished: there is nothing to resume');
    expect(status).toBe(0);
  });

  it.each(['quickstart', 'llm2vec'])('--dry-run describes %s and writes nothing', async (name) => {
    const { status, stdout, stderr } = await lmvec(
      [
        'train',
        '--config',
        join(root, `configs/${name}.yaml`),
        '--dry-run',
        'output=dry',
        'data.train=sentences.txt',
        'stages.mntp.batchTexts=4',
        'stages.simcse.batchTexts=4',
      ],
      { cwd },
    );
    expect(stderr).toBe('');
    expect(status).toBe(0);
    for (const stage of ['mntp', 'simcse']) expect(stdout).toContain(`stage ${stage} (${stage})`);
    expect(stdout.match(/parameters: [\d,]+, of which trained: [\d,]+ \(\d+\.\d\d %\)/g)).toHaveLength(2);
    expect(stdout.match(/memory estimate: \d+\.\d\d GB with save policy \w+/g)).toHaveLength(2);
    // A first batch is text, as it will be seen.
    expect(stdout.match(/first batch:\n {4}.*[A-Za-z]{3}/g)).toHaveLength(2);
    expect(await readdir(folder)).not.toContain('dry');
  });
});

describe('evaluate', () => {
  it("prints a table and writes MTEB's layout", async () => {
    const { status, stdout } = await lmvec(
      [
        'evaluate',
        '--model',
        'run/embedder',
        '--tasks',
        'WordNetSTS',
        '--every-nth-row',
        '10',
        '--bootstrap',
        '0',
        '--output',
        'results',
      ],
      { cwd },
    );
    expect(status).toBe(0);
    expect(stdout).toMatch(/^embedder +file +-?\d+\.\d\d$/m);
    const names = (await readdir(join(folder, 'results'), { recursive: true })).sort();
    const file = names.find((name) => name.endsWith('WordNetSTS.json')) ?? '';
    expect(file).toMatch(/^[^/]+\/[^/]+\/WordNetSTS\.json$/);
    const result = JSON.parse(await readFile(join(folder, 'results', file), 'utf8')) as {
      readonly task_name: string;
      readonly scores: { readonly test: readonly [{ readonly main_score: number }] };
    };
    expect(result.task_name).toBe('WordNetSTS');
    const [{ main_score: score }] = result.scores.test;
    expect(stdout).toContain((100 * score).toFixed(2));
    expect(names.some((name) => name.endsWith('model_meta.json'))).toBe(true);
  });
});

describe('export and embed', () => {
  let exported: CommandResult;
  beforeAll(async () => {
    exported = await lmvec(['export', '--model', 'run/best', '--output', 'embedder'], { cwd });
  });

  it('exports best/ and says that the file was verified', async () => {
    expect(exported.stderr).toMatch(/^embedder: onnx\/model\.onnx \(differs from the model by at most /);
    expect(exported.status).toBe(0);
    const again = await lmvec(['export', '--model', 'run/best', '--output', 'embedder'], { cwd });
    expect(again.stderr).toBe(
      'embedder: the output folder exists (replace it: --overwrite; or choose another: --output)\n',
    );
    expect(again.status).toBe(2);
  });

  it('gives the same vectors through best/, the exported folder and the one of the run, as .jsonl, .npy and stdin', async () => {
    const best = await embedded('--model', 'run/best');
    expect(best.map((row) => row.length)).toEqual([192, 192, 192]);
    for (const row of best) expect(Math.hypot(...row)).toBeCloseTo(1, 5);
    // Different sentences are different.
    expect(largestDifference([best[0] ?? []], [best[2] ?? []])).toBeGreaterThan(0.01);
    expect(largestDifference(best, await embedded('--model', 'embedder'))).toBeLessThan(1e-4);
    expect(largestDifference(best, await embedded('--model', 'run/embedder'))).toBeLessThan(1e-4);

    for (const output of ['vectors.jsonl', 'vectors.npy']) {
      const { status, stdout, stderr } = await lmvec(
        ['embed', '--model', 'embedder', '--input', 'sentences.txt', '--output', output],
        { cwd },
      );
      expect([status, stdout, stderr]).toEqual([0, '', `3 texts -> ${output}\n`]);
    }
    const lines = jsonRows(await readFile(join(folder, 'vectors.jsonl'), 'utf8'));
    expect(largestDifference(best, lines)).toBeLessThan(1e-4);
    expect(npyRows(await readFile(join(folder, 'vectors.npy')))).toEqual(lines);

    const piped = await lmvec(['embed', '--model', 'embedder', '--format', 'npy'], {
      cwd,
      input: sentences.join('\n'),
    });
    expect(npyRows(piped.bytes)).toEqual(lines);
  });

  it('embeds with a decoder that nothing trained: PromptEOL, last token', async () => {
    const prompted = await embedded('--model', 'embedded', '--prompt', 'prompt-eol', '--pooling', 'last');
    const plain = await embedded('--model', 'embedded', '--pooling', 'last');
    expect(prompted).toHaveLength(3);
    expect(largestDifference(prompted, plain)).toBeGreaterThan(0.01);
  });

  it('inspects what was trained, what was exported, and a decoder', async () => {
    const trainedModel = await lmvec(['inspect', '--model', 'run/best'], { cwd });
    for (const fact of [
      'kind: trained adapters, merged',
      'base: embedded',
      'attention: bidirectional',
      'stage: mntp',
      'passed: true',
    ])
      expect(trainedModel.stdout).toContain(fact);
    expect(trainedModel.stdout).toMatch(/^parameters: \d{7}$/m);
    const folderOfFiles = await lmvec(['inspect', '--model', 'embedder'], { cwd });
    expect(folderOfFiles.stdout).toContain('kind: exported embedder');
    const decoder = await lmvec(['inspect', '--model', 'embedded'], { cwd });
    expect(decoder.stdout).toContain('kind: decoder, nothing trained');
    expect([trainedModel.status, folderOfFiles.status, decoder.status]).toEqual([0, 0, 0]);
  });

  it('an exported folder works wherever it is moved', async () => {
    await cp(join(folder, 'embedder'), join(folder, 'moved'), { recursive: true });
    expect(await embedded('--model', 'moved')).toEqual(await embedded('--model', 'embedder'));
  });
});
