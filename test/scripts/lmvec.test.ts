import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const folder = await mkdtemp(join(tmpdir(), 'lmvec-cli-'));

function lmvec(...words: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), join(root, 'scripts/lmvec.ts'), ...words],
    { cwd: folder, encoding: 'utf8', input: '' },
  );
  return { status, stdout, stderr };
}

const recipe = join(root, 'configs/llm2vec.yaml');

describe('lmvec', () => {
  it('--help lists the commands', () => {
    const { status, stdout } = lmvec('--help');
    expect(status).toBe(0);
    for (const command of ['train', 'evaluate', 'export', 'embed', 'inspect'])
      expect(stdout).toContain(`lmvec ${command}`);
  });

  it('every command has help', () => {
    for (const command of ['train', 'evaluate', 'export', 'embed', 'inspect']) {
      const { status, stdout } = lmvec(command, '--help');
      expect(status).toBe(0);
      expect(stdout).toContain('Options:');
    }
  });

  it.each([
    [[], 'a command is needed: train, evaluate, export, push, embed, serve, data, mine'],
    [['trian'], 'Did you mean train?'],
    [['train'], 'expected --config FILE or --resume FOLDER'],
    [['train', '--confg', 'x'], 'Unknown argument: confg'],
    [['train', '--config', 'nope.yaml'], 'nope.yaml: config not found'],
    [['train', '--resume', 'nowhere'], 'nowhere: run folder not found'],
    [['train', '--resume', 'a', '--config', 'b'], 'mutually exclusive'],
    [['train', '--resume', 'a', 'train.seed=1'], 'a resumed run keeps its configuration'],
    [['evaluate'], 'Missing required argument: model'],
    [['embed', '--model'], 'Not enough arguments following: model'],
    [['embed', '--model', 'a', '--model', 'b'], '--model is given more than once'],
    [['embed', '--model', 'a', '--pooling', 'maen'], 'Choices: "first", "mean"'],
    [['embed', '--model', 'a', '--layer', 'top'], '--layer: not a layer: got top'],
    [['embed', '--model', 'a', '--attention', 'sideways'], '--attention: unknown attention: got sideways'],
    [['embed', '--model', 'a', '--input', 'none.txt'], 'none.txt: input not found'],
    [['embed', '--model', 'a'], 'standard input: no text to embed'],
  ])('%j is one sentence and exit code 2', (words, sentence) => {
    const { status, stdout, stderr } = lmvec(...words);
    expect(stderr).toContain(sentence);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });

  it('reports every mistake of a recipe, each with its place', async () => {
    const file = join(folder, 'bad.yaml');
    await writeFile(file, 'modle: embedded\noutput: 3\nstages:\n  a: {objective: simsce}\n');
    const { status, stderr } = lmvec('train', '--config', file, 'train.seed=x');
    expect(stderr.trimEnd().split('\n')).toEqual([
      `${file}:1:1 model: got nothing, expected text or a mapping`,
      `${file}:1:1 modle: unknown key "modle" (did you mean model?)`,
      `${file}:2:1 output: got 3, expected text`,
      `${file}:4:7 stages.a.objective: got "simsce", expected causalLm | mntp | simcse | contrastive | word2vec (did you mean simcse?)`,
      'override train.seed=x: got "x", expected a number',
    ]);
    expect(status).toBe(2);
  });

  it('takes several overrides', () => {
    const { status, stderr } = lmvec('train', '--config', recipe, 'stages.simsce.maxSteps=3', 'trian.seed=1');
    expect(stderr).toContain('override stages.simsce.maxSteps=3: ');
    expect(stderr).toContain('override trian.seed=1: unknown key "trian" (did you mean train?)');
    expect(status).toBe(2);
  });

  it('left nothing behind', async () => {
    expect(await readdir(folder)).toEqual(['bad.yaml']);
  });
});
