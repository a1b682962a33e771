import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { exportFolder } from '../../src/export/folder.js';
import { openSafetensors } from '../../src/models/weights/index.js';
import type { WeightStore } from '../../src/models/weights/types.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { createModelEncoder } from '../../src/pooling/packed-encoder.js';
import { poolingSchema } from '../../src/pooling/schema.js';
import { calibrate } from '../../src/recipes/calibrate.js';
import { largestDifference, texts } from '../export/models.js';

const mixtures = new URL('../golden/mixtures/', import.meta.url).pathname;

interface Golden {
  readonly hiddenLayers: number;
  readonly texts: readonly (readonly number[])[];
  readonly routers: readonly number[];
}

/** What transformers said of a family's texts: row `token` of text `n` of a tensor [N, T, width]. */
async function reference(family: string): Promise<{
  readonly golden: Golden;
  readonly row: (name: string, text: number, token: number) => Promise<number[]>;
  readonly close: () => Promise<void>;
}> {
  const golden = JSON.parse(await readFile(`${mixtures}${family}/golden.json`, 'utf8')) as Golden;
  const store: WeightStore = await openSafetensors(`${mixtures}${family}/golden.safetensors`);
  return {
    golden,
    row: async (name, text, token) => {
      const [, tokens, width] = store.info(name)!.shape as [number, number, number];
      const start = (text * tokens + token) * width;
      return [...(await store.read(name)).slice(start, start + width)];
    },
    close: () => store.close(),
  };
}

const softmax = (x: readonly number[]): number[] => {
  const e = x.map((value) => Math.exp(value - Math.max(...x)));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((value) => value / sum);
};
const unit = (x: readonly number[]): number[] => x.map((value) => value / Math.hypot(...x));

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'moee-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function vectorsOf(
  family: string,
  golden: Golden,
  pooling: Readonly<Record<string, unknown>>,
): Promise<number[][]> {
  const model = await loadEmbeddingModel(`${mixtures}${family}`);
  const encoder = createModelEncoder({
    ...model,
    recipe: { ...model.recipe, pooling: poolingSchema.parse(pooling) },
  });
  try {
    const tokens = golden.texts.map((ids) => ({
      ids: Int32Array.from(ids),
      pool: new Uint8Array(ids.length).fill(1),
    }));
    const { data, dimensions } = await encoder.encodeTokens(tokens, { normalise: false });
    return tokens.map((_, n) => [...data.slice(n * dimensions, (n + 1) * dimensions)]);
  } finally {
    await encoder.dispose();
  }
}

describe('MoEE reads the routers as transformers computes them', () => {
  it.each(['mixtral', 'qwen2-moe', 'qwen3-moe', 'olmoe', 'deepseek'])('%s', async (family) => {
    const { golden, row, close } = await reference(family);
    const last = golden.hiddenLayers - 1;
    try {
      const routed = { type: 'last', routing: { combine: 'concat' } };
      const concat = await vectorsOf(family, golden, routed);
      const logits = await vectorsOf(family, golden, {
        type: 'last',
        routing: { combine: 'rw', weights: 'logits', layers: [-1] },
      });
      const sum = await vectorsOf(family, golden, { type: 'last', routing: { combine: 'sum', alpha: 0.25 } });
      // The input embeddings are pooled, and routers of all blocks are read.
      const shallow = await vectorsOf(family, golden, { ...routed, layer: 0 });
      const mean = await vectorsOf(family, golden, { type: 'mean', routing: { combine: 'rw' } });
      for (const [n, ids] of golden.texts.entries()) {
        const token = ids.length - 1;
        const hs = await row(`causal.hidden.${last}`, n, token);
        const routers = await Promise.all(
          golden.routers.map((layer) => row(`causal.router.${layer}`, n, token)),
        );
        const rw = routers.flatMap(softmax);
        expect(largestDifference(concat[n]!, [...hs, ...rw])).toBeLessThan(1e-5);
        expect(largestDifference(logits[n]!, routers.at(-1)!)).toBeLessThan(1e-5);
        const added = [...unit(hs), ...unit(rw).map((value) => 0.5 * value)];
        expect(largestDifference(sum[n]!, added)).toBeLessThan(1e-5);
        const first = await row('causal.hidden.0', n, token);
        expect(largestDifference(shallow[n]!, [...first, ...rw])).toBeLessThan(1e-5);
        const all = await Promise.all(
          ids.map(async (_, place) => {
            const each = golden.routers.map((layer) => row(`causal.router.${layer}`, n, place));
            return (await Promise.all(each)).flatMap(softmax);
          }),
        );
        const expected = rw.map((_, i) => all.reduce((total, each) => total + each[i]!, 0) / all.length);
        expect(largestDifference(mean[n]!, expected)).toBeLessThan(1e-5);
      }
    } finally {
      await close();
    }
  });
});

describe('MoEE by name', () => {
  const bare = { prompt: '{text}' };

  it.each(['mixtral', 'deepseek'])('is calibrated, exported and served: %s', async (family) => {
    const file = join(folder, `${family}.txt`);
    await writeFile(file, `${texts.join('\n')}\n`);
    const output = join(folder, `${family}-calibrated`);
    const given = { model: `${mixtures}${family}`, method: 'moee-sum', alpha: 0.5, ...bare };
    await calibrate({ ...given, texts: file, output });
    const model = await loadEmbeddingModel(output);
    expect(model.recipe.pooling).toMatchObject({
      standardise: true,
      routing: { combine: 'sum', alpha: 0.5 },
    });

    const embedder = await Embedder.open(output);
    const expected = await embedder.encode(texts);
    // A text's vector is its own, whatever stands beside it.
    const alone = await embedder.encode(texts.slice(1, 2));
    const { dimensions } = expected;
    expect(largestDifference(alone.data, expected.data.slice(dimensions, 2 * dimensions))).toBeLessThan(1e-5);
    await embedder.dispose();

    const exported = join(folder, `${family}-embedder`);
    const { files } = await exportFolder(model, exported);
    expect(files.map(({ path }) => path)).toEqual(['onnx/model.onnx']);
    const served = await Embedder.open(exported);
    expect(largestDifference((await served.encode(texts)).data, expected.data)).toBeLessThan(1e-5);
    await served.dispose();
    expect(await readFile(join(exported, 'README.md'), 'utf8')).toContain(
      '| routing of its experts | softmax',
    );
  });

  it('each gives another vector, of its own length', async () => {
    const model = `${mixtures}qwen3-moe`;
    const widths: number[] = [];
    for (const method of ['moee-hs', 'moee-rw', 'moee-concat', 'moee-sum']) {
      const embedder = await Embedder.open(model, { method, ...bare });
      widths.push((await embedder.encode(texts)).dimensions);
      await embedder.dispose();
    }
    expect(widths).toEqual([24, 12, 36, 36]);
  });

  it('keeps its routing beside another pooling', async () => {
    const { recipe } = await loadEmbeddingModel(`${mixtures}olmoe`, { method: 'moee-rw', pooling: 'mean' });
    expect(recipe.pooling).toMatchObject({ type: 'mean', routing: { combine: 'rw' } });
  });

  it('says where there are no experts, and where alpha has no use', async () => {
    await expect(loadEmbeddingModel('embedded', { method: 'moee-sum' })).rejects.toThrow(
      /no experts to route to: expected a mixture-of-experts decoder/,
    );
    await expect(loadEmbeddingModel(`${mixtures}olmoe`, { method: 'moee-concat', alpha: 2 })).rejects.toThrow(
      /alpha weighs a routing that is added/,
    );
    await expect(loadEmbeddingModel('embedded', { method: 'mean', alpha: 2 })).rejects.toThrow(
      /--method moee-sum/,
    );
  });
});
