import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { engine } from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { ForeignOnnxEmbedder } from '../../src/embedder/foreign-onnx.js';
import { exportFolder } from '../../src/export/folder.js';
import { openModel } from '../../src/recipes/open-model.js';
import { exportEmbedder } from '../../src/recipes/export.js';
import { UserError } from '../../src/shared/errors.js';
import { assetPath } from '../../src/shared/package.js';
import { goldenModel, largestDifference, modelWith, temporaryFolders, texts } from '../export/models.js';

const temporary = temporaryFolders();

describe.each(['packed', 'exported'] as const)('Embedder, %s', (kind) => {
  let embedder: Embedder;
  let path: string;
  beforeAll(async () => {
    const options = { attention: 'bidirectional', maxTokens: 24 } as const;
    path = goldenModel();
    if (kind === 'exported') {
      path = join(await temporary(), 'embedder');
      await exportEmbedder({ model: goldenModel(), ...options, output: path });
    }
    embedder = await Embedder.open(path, kind === 'exported' ? {} : options);
  });
  afterAll(() => embedder.dispose());

  it('gives unit vectors in the order of the texts, whatever their neighbours', async () => {
    const all = await embedder.encode(texts);
    expect([all.rows, all.dimensions]).toEqual([texts.length, 24]);
    for (const [row, text] of texts.entries()) {
      const own = all.data.subarray(row * 24, (row + 1) * 24);
      expect(Math.hypot(...own)).toBeCloseTo(1, 5);
      expect(largestDifference((await embedder.encode(text)).data, own)).toBeLessThan(1e-5);
    }
    const few = await embedder.encode([...texts, ...texts].reverse(), { batchSize: 1 });
    const expected = [...all.data, ...all.data];
    const reversed = Array.from({ length: 2 * texts.length }, (_, i) =>
      expected.slice(i * 24, (i + 1) * 24),
    ).reverse();
    expect(largestDifference(few.data, reversed.flat())).toBeLessThan(1e-5);
  });

  it('cuts vectors and compares them', async () => {
    const all = await embedder.encode(texts);
    const cut = await embedder.encode(texts, { truncateDim: 5 });
    expect(cut.dimensions).toBe(5);
    const norm = Math.hypot(...all.data.subarray(0, 5));
    expect(cut.data[1]).toBeCloseTo(all.data[1]! / norm, 5);
    const cosines = embedder.similarity(all, await embedder.encode(texts[2]!));
    expect([cosines.rows, cosines.dimensions]).toEqual([texts.length, 1]);
    expect(cosines.data[2]).toBeCloseTo(1, 5);
    expect(cosines.data[0]).toBeLessThan(0.9999);
    expect(() => embedder.similarity(all, cut)).toThrow(/different lengths/);
  });

  it('hears of progress, and takes no text at all', async () => {
    const heard: number[] = [];
    await embedder.encode(texts, { onProgress: (done, all) => heard.push(done, all) });
    expect(heard.slice(-2)).toEqual([texts.length, texts.length]);
    expect((await embedder.encode([])).rows).toBe(0);
  });

  it('says what it cannot do', async () => {
    await expect(embedder.encode(['a', ' '])).rejects.toThrow(/text 2: the text is empty/);
    await expect(embedder.encode('a', { truncateDim: 25 })).rejects.toThrow(/truncateDim.*25.*1 to 24/);
    await expect(embedder.encode('a', { batchSize: 0 })).rejects.toThrow(/batchSize/);
    await expect(embedder.encode('a', { promptName: 'prompt-eo' })).rejects.toThrow(
      /did you mean prompt-eol/,
    );
    await expect(embedder.encode('a', { precision: 'int8' as 'float32' })).rejects.toThrow(/precision/);
  });

  it('takes another prompt where it can pool its tokens', async () => {
    const frame = 'the "{text}"';
    if (kind === 'exported') {
      await expect(embedder.encode('cat', { prompt: frame })).rejects.toThrow(/cannot pool the tokens/);
      await expect(embedder.encode('cat', { normalize: false })).rejects.toThrow(/unit vectors only/);
      return;
    }
    const other = await Embedder.open(path, { attention: 'bidirectional', maxTokens: 24, prompt: frame });
    const expected = await other.encode('cat', { normalize: false });
    await other.dispose();
    expect((await embedder.encode('cat', { prompt: frame, normalize: false })).data).toEqual(expected.data);
  });

  it('takes a task into a prompt that has a place for it', async () => {
    if (kind === 'exported') return;
    const prompt = 'find {task}: {text}';
    await expect(embedder.encode('cat', { prompt })).rejects.toThrow(/has a \{task\} and none is given/);
    await expect(embedder.encode('cat', { task: 'it' })).rejects.toThrow(/there is no prompt for it/);
    const filled = await embedder.encode('cat', { prompt: 'find it: {text}' });
    expect((await embedder.encode('cat', { prompt, task: 'it' })).data).toEqual(filled.data);
  });

  it('leaves no tensor behind', async () => {
    const before = engine().memory().numTensors;
    for (let i = 0; i < 3; i++) {
      const another = await Embedder.open(path);
      await another.encode(texts);
      await another.dispose();
    }
    expect(engine().memory().numTensors).toBe(before);
  });
});

describe('a damaged download', () => {
  it('of an exported folder is one sentence', async () => {
    const path = join(await temporary(), 'embedder');
    await exportEmbedder({ model: goldenModel(), output: path, threads: 1 });
    const graph = join(path, 'onnx/model.onnx');
    const whole = await readFile(graph);
    const sentence = /onnx\/model\.onnx: ONNX Runtime cannot open the graph: got /;
    for (const bytes of [whole.subarray(0, whole.length / 2), Buffer.from('not a graph'), Buffer.alloc(0)]) {
      await writeFile(graph, bytes);
      for (const open of [() => Embedder.open(path), () => ForeignOnnxEmbedder.open(path)]) {
        await expect(open()).rejects.toThrow(sentence);
        await expect(open()).rejects.toBeInstanceOf(UserError);
      }
    }
    await writeFile(graph, whole);
    // The tokenizer of another model: ids that the graph has no row for.
    for (const name of ['tokenizer.json', 'tokenizer_config.json'])
      await cp(assetPath('tiny', name), join(path, name));
    for (const embedder of [await Embedder.open(path), await ForeignOnnxEmbedder.open(path)]) {
      await expect(embedder.encode(['Something is somewhere.'])).rejects.toThrow(
        /onnx\/model\.onnx: ONNX Runtime cannot run the graph: got .*out of data bounds/,
      );
      await embedder.dispose();
    }
    await writeFile(join(path, 'tokenizer.json'), '{"model": {"type": "BPE", "vocab": 5}}');
    await expect(ForeignOnnxEmbedder.open(path)).rejects.toThrow(
      /tokenizer\.json: the tokenizer cannot be used/,
    );
  });
});

describe('openModel', () => {
  it('describes a decoder, with a probe of its own', async () => {
    const model = await openModel({ model: goldenModel(), attention: { lastLayers: 1 }, pooling: 'last' });
    expect(model.dimensions).toBe(24);
    expect(model.description).toMatchObject({
      kind: 'decoder, nothing trained',
      parameters: 11256,
      layers: 2,
      attention: { lastLayers: 1 },
      pooling: { type: 'last', layer: -1 },
      lineage: [],
      probe: { passed: true, mode: { lastLayers: 1 } },
    });
    expect((await model.encode(texts)).rows).toBe(texts.length);
    await model.close();
  });

  it('describes an exported folder, which other options turn into another model', async () => {
    const path = join(await temporary(), 'embedder');
    const lineage = [{ stage: 'simcse', objective: 'simcse', steps: 9, tuning: 'lora' }];
    await exportFolder({ ...(await modelWith({ attention: 'bidirectional' })), lineage }, path);
    const own = await openModel({ model: path });
    expect(own.description).toMatchObject({
      kind: 'exported embedder',
      base: 'base',
      attention: 'bidirectional',
      lineage,
      probe: { passed: true },
    });
    const causal = await openModel({ model: path, attention: 'causal' });
    expect(causal.description).toMatchObject({ attention: 'causal', probe: { mode: 'causal' }, lineage });
    expect(causal.meta.revision).not.toBe(own.meta.revision);
    expect(causal.meta.parameters).toBe(own.meta.parameters);
    expect(
      largestDifference((await causal.encode(texts)).data, (await own.encode(texts)).data),
    ).toBeGreaterThan(1e-3);
    await own.close();
    await causal.close();
  });
});
