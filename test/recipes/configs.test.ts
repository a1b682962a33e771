import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { loadConfig, parseConfig } from '../../src/config/load.js';
import { runSchema } from '../../src/recipes/schema.js';

const folder = join(import.meta.dirname, '../../configs');
const files = (await readdir(folder)).filter((file) => file.endsWith('.yaml'));

describe('configs/', () => {
  it('holds the recipes that the README names', () => {
    expect(files).toEqual(expect.arrayContaining(['llm2vec.yaml', 'quickstart.yaml']));
  });

  it.each(files)('%s is valid, and is the same when its resolved form is read again', async (file) => {
    const { config } = await loadConfig(join(folder, file), [], runSchema);
    const again = parseConfig(stringify(config), { file: 'resolved', overrides: [], schema: runSchema });
    expect(again.config).toEqual(config);
    expect(Object.keys(again.config.stages)).toEqual(Object.keys(config.stages));
  });

  it.each(files)('%s has a header with its command', async (file) => {
    const header = (await readFile(join(folder, file), 'utf8')).split('\n\n')[0] ?? '';
    expect(header).toMatch(/^# /);
    expect(header).toContain(`configs/${file}`);
  });

  it('takes the overrides of the README', async () => {
    const overrides = [
      'output=runs/x',
      'model=path/to/model.gguf',
      'data.train=corpus.txt',
      'stages.simcse.maxSteps=200',
      'train.seed=7',
    ];
    const { config } = await loadConfig(join(folder, 'llm2vec.yaml'), overrides, runSchema);
    expect(config).toMatchObject({
      output: 'runs/x',
      model: { path: 'path/to/model.gguf' },
      data: { train: ['corpus.txt'] },
      stages: { simcse: { maxSteps: 200 } },
      train: { seed: 7 },
    });
  });
});

describe('the run schema', () => {
  const minimal =
    'model: embedded\noutput: runs/x\nstages: {simcse: {objective: simcse, maxSteps: 1, batchTexts: 2, maxTokens: 8, learningRate: 1e-3}}';
  const problems = (...overrides: string[]): string => {
    try {
      parseConfig(minimal, { file: 'run.yaml', overrides, schema: runSchema });
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };

  it('takes special tokens, the same number in every stage', () => {
    const pooling = 'pooling={type: specialTokens, tokens: 3, aggregate: mean}';
    expect(problems(pooling, 'stages.simcse.pooling={type: specialTokens}')).toBe('');
    expect(problems(pooling, 'stages.simcse.pooling={type: specialTokens, tokens: 4}')).toMatch(
      /got 4, expected 3, as the run's other pooling has it/,
    );
    expect(problems('pooling={type: specialTokens, tokens: 0}')).toMatch(
      /got 0, expected a number of at least 1/,
    );
  });

  it('takes a method by name, and says what contradicts it', () => {
    const read = (...overrides: string[]) =>
      parseConfig(minimal, { file: 'run.yaml', overrides, schema: runSchema }).config;
    expect(read('method=prompt-eol')).toMatchObject({
      attention: 'causal',
      pooling: { type: 'last', layer: -1 },
      prompt: 'prompt-eol',
    });
    const bellm = read('method=bellm', 'pooling={type: last, head: {type: dense, dimensions: 8}}');
    expect(bellm).toMatchObject({
      attention: { lastLayers: 1 },
      pooling: { type: 'last', head: { dimensions: 8 } },
      prompt: 'bellm',
    });
    const task = { frame: 'gritlm', task: 'Find it' };
    expect(read('method=gritlm', 'prompt={frame: gritlm, task: Find it}')).toMatchObject({ prompt: task });
    expect(read('method=mean', 'attention=bidirectional').attention).toBe('bidirectional');
    const again = parseConfig(stringify(bellm), { file: 'resolved', overrides: [], schema: runSchema });
    expect(again.config).toEqual(bellm);

    expect(problems('method=promt-eol')).toMatch(
      /method=promt-eol: got "promt-eol", expected one of .*did you mean prompt-eol/,
    );
    const wrong = problems('method=bellm', 'attention=causal', 'pooling={type: mean}', 'prompt=echo').split(
      '\n',
    );
    expect(wrong).toHaveLength(3);
    expect(wrong[0]).toMatch(
      /attention.*got "causal", expected \{"lastLayers":1\}, as method bellm has it, or nothing/,
    );
    expect(wrong[1]).toMatch(/pooling.*expected \{"type":"last","layer":-1\}/);
    expect(wrong[2]).toMatch(/prompt.*got "echo", expected bellm/);
    expect(problems('method=prompt-eol', 'pooling.type=last', 'pooling.layer=-2')).toMatch(/"layer":-1/);
  });

  it('fills in the defaults of the methods', () => {
    const { config } = parseConfig(minimal, { file: 'run.yaml', overrides: [], schema: runSchema });
    expect(config).toMatchObject({
      attention: 'bidirectional',
      pooling: { type: 'mean', layer: -1 },
      tuning: { type: 'lora', rank: 16, alpha: 32, dropout: 0.05 },
      stages: {
        simcse: { scale: 20, attentionDropout: 0.3, betas: [0.9, 0.999], clipNorm: 1, accumulate: 1 },
      },
    });
    expect(parse(stringify(config))).toEqual(JSON.parse(JSON.stringify(config)));
  });

  it.each([
    ['stages.simcse.batchTexts=1', 'got 1, expected a number of at least 2'],
    ['stages.simcse.scheduleSteps=0', 'got 0, expected a number of at least 1'],
    ['stages.simcse.warmupSteps=5', 'expected fewer than scheduleSteps'],
    ['stages.simcse.maskRatio=0.5', 'unknown key "maskRatio"'],
    ['stages={}', 'expected at least one stage'],
    ['stages.1a={objective: mntp}', 'expected a stage name'],
    ['pooling.type=weightedmean', 'did you mean weightedMean?'],
    ['tuning={type: lora, targetModules: [q_prj]}', 'did you mean q_proj?'],
    ['prompt={frame: hello}', 'expected a frame with {text} in it, or one of '],
    ['prompt=prompt-eo', 'did you mean prompt-eol?'],
    ['model={initialise: {family: lama}}', 'got "lama", expected llama | word2vec (did you mean llama?)'],
    ['train.memory=lots', 'expected a memory size'],
    ['train.seed=-1', 'expected a number of at least 0'],
    ['train.seed=1.5', 'expected a whole number'],
    ['evaluate.tasks=[]', 'expected a list of at least 1'],
    ['model={path: x, residentPrecision: store}', 'did you mean stored?'],
  ])('refuses %s', (override, message) => {
    expect(problems(override)).toContain(`override ${override}: `);
    expect(problems(override)).toContain(message);
  });
});
