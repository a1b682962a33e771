import { chmod, cp, mkdir, mkdtemp, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { lmvec, root } from './command.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const folder = await mkdtemp(join(tmpdir(), 'lmvec-bad-input-'));
const cwd = folder;
const golden = join(root, 'test/golden/llama/base');
let before: string[] = [];

const listing = async (): Promise<string[]> => (await readdir(folder, { recursive: true })).sort();

/** A copy of the tiny decoder of which something is wrong. */
async function brokenModel(name: string, breakIt: (path: string) => Promise<void>): Promise<void> {
  const path = join(folder, name);
  await cp(golden, path, {
    recursive: true,
    filter: (source) => !/golden\.|adapter/.test(source.slice(golden.length)),
  });
  await breakIt(path);
}

async function editJson(path: string, edit: (json: Record<string, unknown>) => void): Promise<void> {
  const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  edit(json);
  await writeFile(path, JSON.stringify(json));
}

const recipe = (model: string): string => `model: ${model}
data: { train: texts.txt }
stages: { simcse: { objective: simcse, maxSteps: 1, batchTexts: 2, maxTokens: 8, learningRate: 1e-3 } }
evaluate: { everyNthRow: 200 }
output: run
`;

beforeAll(async () => {
  await writeFile(join(folder, 'texts.txt'), 'the cat sat\na dog sat on the mat\nthe sky is blue\n');
  await writeFile(join(folder, 'good.yaml'), recipe(golden));
  await writeFile(join(folder, 'empty.txt'), '');
  await writeFile(join(folder, 'gap.txt'), 'one\ntwo\n\nfour\n');
  await writeFile(join(folder, 'latin1.txt'), Buffer.from([0x63, 0x61, 0x66, 0xe9, 0x0a]));
  await writeFile(
    join(folder, 'garbage.gguf'),
    Buffer.from(`GGUF\u0003\u0000\u0000\u0000${'x'.repeat(200)}`),
  );
  await cp(join(root, 'test/golden/gguf/llama.gguf'), join(folder, 'short.gguf'));
  await truncate(join(folder, 'short.gguf'), 40_000);
  await writeFile(join(folder, 'pairs.tsv'), 'score\tsentence1\tsentence2\n3\tonly one\n');
  await mkdir(join(folder, 'nothing'));
  await brokenModel('truncated', async (path) => truncate(join(path, 'model.safetensors'), 5000));
  await brokenModel('alien', async (path) =>
    editJson(join(path, 'config.json'), (json) => {
      json['model_type'] = 'mamba';
    }),
  );
  await brokenModel('otherTokenizer', async (path) =>
    editJson(join(path, 'tokenizer.json'), (json) => {
      const { vocab } = json['model'] as { vocab: Record<string, number> };
      vocab['zzzz'] = 5000;
    }),
  );
  // The tokenizer of the embedded decoder has thousands of tokens, the tiny one 72.
  await brokenModel('embeddedTokenizer', async (path) =>
    cp(join(root, 'assets/tiny/tokenizer.json'), join(path, 'tokenizer.json')),
  );
  await writeFile(join(folder, 'file'), 'in the way');
  await mkdir(join(folder, 'readOnly'));
  await chmod(join(folder, 'readOnly'), 0o555);
  before = await listing();
});

const embedWith = (model: string, ...more: string[]): string[] => [
  'embed',
  '--model',
  model,
  '--input',
  'texts.txt',
  '--output',
  'out.jsonl',
  ...more,
];
const embedTo = (output: string): string[] => [
  'embed',
  '--model',
  golden,
  '--input',
  'texts.txt',
  '--output',
  output,
];
const trainWith = (...overrides: string[]): string[] => ['train', '--config', 'good.yaml', ...overrides];

const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['a model that is not there', embedWith('nowhere'), /^nowhere: model not found/],
  ['a folder without a model', embedWith('nothing'), /^nothing: not a model folder: got no config\.json/],
  ['truncated safetensors', embedWith('truncated'), /truncated\/model\.safetensors/],
  ['garbage that begins as GGUF', embedWith('garbage.gguf'), /^garbage\.gguf: /],
  ['truncated GGUF', embedWith('short.gguf'), /^short\.gguf: /],
  ['an unknown family', embedWith('alien'), /alien\/?.*mamba/],
  ['a tokenizer with ids past the vocabulary', embedWith('otherTokenizer'), /otherTokenizer.*5000|5001/],
  ['the tokenizer of another model', embedWith('embeddedTokenizer'), /embeddedTokenizer/],
  ['a layer that is not there', embedWith(golden, '--layer', '7'), /layer.*7/],
  ['more last layers than there are', embedWith(golden, '--attention', '5'), /attention: more last layers/],
  ['a prompt without a place for the text', embedWith(golden, '--prompt', 'hello'), /\{text\}/],
  ['an empty line', ['embed', '--model', golden, '--input', 'gap.txt'], /^gap\.txt:3: /],
  [
    'an input that is not UTF-8',
    ['embed', '--model', golden, '--input', 'latin1.txt'],
    /^latin1\.txt.*UTF-8/,
  ],
  ['an output below a file', embedTo('file/x.npy'), /file/],
  [
    'an unknown set',
    ['evaluate', '--model', golden, '--tasks', 'STSbb'],
    /unknown evaluation set: got STSbb.*did you mean STSb\?/,
  ],
  [
    'a set that is not at hand',
    ['evaluate', '--model', golden, '--tasks', 'STSb', '--data', 'nothing'],
    /STSb/,
  ],
  ['a set with a broken line', ['evaluate', '--model', golden, '--tasks', './pairs.tsv'], /pairs\.tsv:2/],
  ['training texts that are not there', trainWith('data.train=none.txt'), /^none\.txt: /],
  ['training texts that are empty', trainWith('data.train=empty.txt'), /^(empty\.txt|data\.train): /],
  ['a model to train that is truncated', trainWith('model=truncated'), /truncated\/model\.safetensors/],
  ['a model to train with another tokenizer', trainWith('model=otherTokenizer'), /vocabulary/],
  ['a layer to pool that is not there', trainWith('pooling={type: mean, layer: 9}'), /layer.*9/],
  ['last layers that are not there', trainWith('attention={lastLayers: 9}'), /last layers/],
  ['an evaluation set that is not there', trainWith('evaluate.tasks=[STS15]'), /STS15/],
  [
    'training in float16 on the CPU',
    trainWith('train.device=cpu', 'train.precision=float16'),
    /^precision: cpu has no matrix products in float16: got float16, expected float32 \(cuda may have float16/,
  ],
  [
    'embedding in bfloat16 on the CPU',
    embedWith(golden, '--compute-precision', 'bfloat16', '--device', 'cpu'),
    /^precision: cpu has no matrix products in bfloat16/,
  ],
  [
    'evaluating in bfloat16 on WebGPU',
    ['evaluate', '--model', golden, '--compute-precision', 'bfloat16', '--device', 'webgpu'],
    /webgpu (has no matrix products in bfloat16|that works)/,
  ],
  [
    'an export in float16',
    ['export', '--model', golden, '--output', 'embedder', '--compute-precision', 'float16'],
    /^--compute-precision: .*got float16, expected float32 .*--formats fp16/,
  ],
  ['a run folder below a file', trainWith('output=file/run'), /file/],
  ['an export below a file', ['export', '--model', golden, '--output', 'file/embedder'], /file/],
];

describe('bad input is one sentence, exit code 2, and leaves nothing behind', () => {
  it.each(cases)('%s', async (_name, words, sentence) => {
    const { status, stdout, stderr } = await lmvec(words, { cwd });
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/undefined|\[object|internal:/);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });

  // Who may write everywhere cannot be refused.
  it.skipIf(process.getuid?.() === 0)('a folder that may not be written to', async () => {
    for (const words of [
      trainWith('output=readOnly/run'),
      ['export', '--model', golden, '--output', 'readOnly/embedder'],
      ['embed', '--model', golden, '--input', 'texts.txt', '--output', 'readOnly/x.npy'],
    ]) {
      const { status, stderr } = await lmvec(words, { cwd });
      expect(stderr).toMatch(/readOnly.*permission denied\n$/);
      expect(status).toBe(2);
    }
  });

  afterAll(async () => {
    await chmod(join(folder, 'readOnly'), 0o755);
    expect(await listing()).toEqual(before);
  });
});
