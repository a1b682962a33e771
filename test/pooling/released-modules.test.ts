import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { temporaryFolders } from '../export/models.js';
import { relativeDifference } from '../training/tiny.js';

const temporary = temporaryFolders();
const released = (name: string): string => join(import.meta.dirname, '../golden/released', name);

/** See test/golden/released/make.py. */
interface Golden {
  readonly texts: readonly string[];
  readonly plain: readonly (readonly number[])[];
  readonly query: readonly (readonly number[])[];
}

async function changed(name: string, file: string, change: (json: unknown) => unknown): Promise<string> {
  const folder = await temporary();
  await cp(released(name), folder, { recursive: true });
  const path = join(folder, file);
  await writeFile(path, JSON.stringify(change(JSON.parse(await readFile(path, 'utf8')))));
  return folder;
}

describe('a folder of sentence-transformers embeds as it does there', () => {
  it.each([
    ['bert', 'plain', undefined],
    ['bert', 'query', 'query'],
    // The default prompt is in both.
    ['qwen3', 'plain', undefined],
    ['qwen3', 'query', 'query'],
  ] as const)('%s, %s', async (name, which, prompt) => {
    const golden = JSON.parse(await readFile(join(released(name), 'golden.json'), 'utf8')) as Golden;
    const embedder = await Embedder.open(released(name), {
      threads: 1,
      ...(prompt === undefined ? {} : { prompt }),
    });
    const { data, dimensions } = await embedder.encode(golden.texts);
    await embedder.dispose();
    for (const [row, expected] of golden[which].entries())
      expect(
        relativeDifference(data.slice(row * dimensions, (row + 1) * dimensions), expected),
        golden.texts[row],
      ).toBeLessThan(1e-5);
  });
});

it('an empty prompt is the bare text by name, where another one is the default', async () => {
  const folder = await changed('bert', 'config_sentence_transformers.json', () => ({
    prompts: { query: 'the: ', passage: '' },
    default_prompt_name: 'query',
  }));
  const { recipe } = await loadEmbeddingModel(folder);
  expect(recipe.prompt).toMatchObject({ frame: 'the: {text}' });
  expect(recipe.prompts).toMatchObject({ passage: { frame: '{text}' } });
});

it('a pooling of the own leaves the modules out', async () => {
  const { recipe } = await loadEmbeddingModel(released('bert'), { pooling: 'mean' });
  expect(recipe.pooling).toEqual({ type: 'mean', layer: -1 });
  expect(recipe.attention).toBe('bidirectional');
});

it.each([
  ['pooling_mode_mean_tokens', 'mean'],
  ['pooling_mode_cls_token', 'first'],
  ['pooling_mode_weightedmean_tokens', 'weightedMean'],
  ['pooling_mode_lasttoken', 'last'],
])('reads %s, as versions before 6 write it', async (key, type) => {
  const folder = await changed('bert', '1_Pooling/config.json', () => ({
    pooling_mode_mean_tokens: false,
    [key]: true,
  }));
  expect((await loadEmbeddingModel(folder)).recipe.pooling.type).toBe(type);
});

it.each([
  ['1_Pooling/config.json', () => ({ pooling_mode: 'max' }), 'this pooling is not supported: got max'],
  [
    '1_Pooling/config.json',
    () => ({ pooling_mode_mean_tokens: true, pooling_mode_cls_token: true }),
    'got cls and mean',
  ],
  ['2_Dense/config.json', () => ({ out_features: 10, activation_function: 'torch.nn.ReLU' }), 'Dense module'],
  ['modules.json', () => [{ type: 'a.LSTM', path: '1_LSTM' }], 'got LSTM in'],
  ['modules.json', () => [{ type: 'a.Pooling', path: '../1_Pooling' }], 'broken list of modules'],
  ['modules.json', () => ({}), 'expected a list'],
])('%s with something else is one sentence', async (file, change, words) => {
  await expect(loadEmbeddingModel(await changed('bert', file, change))).rejects.toThrow(words);
});
