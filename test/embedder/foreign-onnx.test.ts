import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onnx } from 'onnx-proto';
import { describe, expect, it } from 'vitest';
import { ForeignOnnxEmbedder } from '../../src/embedder/foreign-onnx.js';
import { exportFolder } from '../../src/export/folder.js';
import type { EmbeddingRecipe } from '../../src/pooling/embedding-model.js';
import { mineNegatives } from '../../src/recipes/mine.js';
import { exampleSetSchema } from '../../src/data/example-schema.js';
import { encodeWith, largestDifference, modelWith, temporaryFolders, texts } from '../export/models.js';

const temporary = temporaryFolders();

/** A model as another tool has it: a graph that gives token states alone, and modules that say what follows. */
async function foreignFolder(recipe: Partial<EmbeddingRecipe>) {
  const model = await modelWith(recipe);
  const folder = join(await temporary(), 'embedder');
  await exportFolder(model, folder, { threads: 1 });
  const path = join(folder, 'onnx', 'model.onnx');
  const graph = onnx.ModelProto.decode(await readFile(path));
  graph.graph!.output = graph.graph!.output!.filter(({ name }) => name !== 'sentence_embedding');
  await writeFile(path, onnx.ModelProto.encode(graph).finish());
  for (const name of ['lmvec.json', 'model.safetensors', 'pooling.safetensors', 'config.json'])
    await rm(join(folder, name), { force: true });
  return { model, folder };
}

async function rewrite(
  folder: string,
  file: string,
  change: (json: Record<string, unknown>) => unknown,
): Promise<void> {
  const path = join(folder, file);
  const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  await writeFile(path, JSON.stringify(change(json)));
}

describe('an ONNX embedder of another tool whose graph gives token states', () => {
  const head = { type: 'dense', dimensions: 5, bias: true, activation: 'tanh' } as const;
  it.each([
    ['mean and a dense layer', { pooling: { type: 'mean', layer: -1, head } }],
    ['dense without bias', { pooling: { type: 'last', layer: -1, head: { ...head, bias: false } } }],
    ['weighted mean', { pooling: { type: 'weightedMean', layer: -1 } }],
    ['first', { pooling: { type: 'first', layer: -1 }, attention: 'bidirectional' }],
  ] satisfies [string, Partial<EmbeddingRecipe>][])('%s', async (_, recipe) => {
    const { model, folder } = await foreignFolder(recipe);
    const embedder = await ForeignOnnxEmbedder.open(folder, { threads: 1 });
    const actual = await embedder.encode(texts);
    await embedder.dispose();
    const expected = await encodeWith(model);
    expect(actual.dimensions).toBe(expected.dimensions);
    expect(largestDifference(actual.data, expected.data)).toBeLessThan(1e-5);
  });

  it('is refused where it says what is not done here', async () => {
    const { folder } = await foreignFolder({ pooling: { type: 'mean', layer: -1 } });
    const pooling = '1_Pooling/config.json';
    await rewrite(folder, pooling, (config) => ({ ...config, pooling_mode_cls_token: true }));
    const open = (): Promise<ForeignOnnxEmbedder> => ForeignOnnxEmbedder.open(folder, { threads: 1 });
    await expect(open()).rejects.toThrow(/this pooling is not supported.*cls and mean/);
    await rm(join(folder, 'modules.json'));
    await expect(open()).rejects.toThrow(/cls and mean/);
    await rm(join(folder, pooling));
    await expect(open()).rejects.toThrow(/does not say how token states become an embedding/);
  });
});

describe('prompts of a foreign teacher', () => {
  it('are its own where none is given, and by name; not where it does not pool them', async () => {
    const { folder } = await foreignFolder({
      pooling: { type: 'mean', layer: -1 },
      prompts: { query: { frame: 'the cat: {text}', pool: 'all' }, passage: '{text}' },
      prompt: { frame: 'the cat: {text}', pool: 'all' },
    });
    const input = join(await temporary(), 'pairs.tsv');
    const pairs = ['the cat\ta mat', 'an old ox\tthe other cat', 'a\tthe mat', 'the ox\tan old cat'];
    await writeFile(input, `query\tpositive\n${pairs.join('\n')}\n`);
    const mined = async (prompts: { queryPrompt?: string; documentPrompt?: string }) => {
      const output = join(await temporary(), 'mined.jsonl');
      await mineNegatives({
        model: folder,
        set: exampleSetSchema.parse({ kind: 'pairs', path: input }),
        output,
        negatives: 2,
        range: [0, 3],
        sampling: 'top',
        seed: 0,
        threads: 1,
        ...prompts,
      });
      return readFile(output, 'utf8');
    };
    const own = await mined({});
    expect(own).toBe(await mined({ queryPrompt: 'the cat: {text}', documentPrompt: 'query' }));
    expect(own).not.toBe(await mined({ queryPrompt: 'passage', documentPrompt: 'passage' }));
    await rewrite(folder, '1_Pooling/config.json', (config) => ({ ...config, include_prompt: false }));
    await expect(mined({})).rejects.toThrow(/leaves its prompts out of the mean/);
  });
});
