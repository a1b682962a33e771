import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { Embedder } from '../../src/embedder/embedder.js';
import { exportEmbedder } from '../../src/recipes/export.js';
import { runSchema } from '../../src/recipes/schema.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { endTokens, GreedyDecoder } from '../../src/models/greedy.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { createModelEncoder } from '../../src/pooling/packed-encoder.js';
import { relativeDifference } from '../training/tiny.js';

const goldenFolder = new URL('../golden/', import.meta.url).pathname;
interface Golden {
  readonly tokens: number;
  readonly models: Readonly<
    Record<
      string,
      readonly {
        readonly prompt: readonly number[];
        readonly answer: readonly number[];
        readonly mean: Readonly<Record<'-1' | '-2', readonly number[]>>;
      }[]
    >
  >;
}
const golden = JSON.parse(await readFile(`${goldenFolder}generate/golden.json`, 'utf8')) as Golden;

describe.each(Object.entries(golden.models))(
  'greedy answers as transformers gives them: %s',
  (name, cases) => {
    const texts = cases.map(({ prompt }) => ({
      ids: Int32Array.from(prompt),
      pool: new Uint8Array(prompt.length),
    }));

    it.each([true, false])('tokens, with keys and values kept: %s', async (cache) => {
      const { decoder } = await loadEmbeddingModel(`${goldenFolder}llama/${name}`);
      const pool = new TensorPool();
      // Tiles of few rows, so that there are several.
      const runner = new DecoderRunner({ decoder, attention: 'causal', pool, threads: 1, tileTokens: 64 });
      const ends = endTokens(decoder, undefined);
      const greedy = new GreedyDecoder({
        runner,
        decoder,
        pool,
        tokens: golden.tokens,
        ends,
        also: [],
        cache,
      });
      const answers = await greedy.answer(texts.map(({ ids }) => ids));
      expect(answers.map(({ ids }) => [...ids])).toEqual(
        cases.map(({ answer }) => answer.filter((id) => !ends.has(id))),
      );
      await greedy.dispose();
      await runner.dispose();
    });

    it.each([-1, -2] as const)('the average of the states that make them, layer %i', async (layer) => {
      const model = await loadEmbeddingModel(`${goldenFolder}llama/${name}`, {
        pooling: 'last',
        layer,
        generate: golden.tokens,
      });
      for (const cache of [true, false]) {
        const encoder = createModelEncoder(model, { threads: 1, cache });
        const { data, dimensions } = await encoder.encodeTokens(texts, { normalise: false });
        for (const [row, { mean }] of cases.entries())
          expect(
            relativeDifference(
              data.subarray(row * dimensions, (row + 1) * dimensions),
              Float32Array.from(mean[`${layer}`]),
            ),
          ).toBeLessThan(1e-5);
        await encoder.dispose();
      }
    });
  },
);

describe('--method inbedder --generate', () => {
  const texts = [
    'the horse ran over the hill',
    'a house',
    'water is a clear liquid that everybody drinks',
    'x',
  ];

  it('gives the same with and without the cache, in any batch, with windows and several layers', async () => {
    const bare = await loadEmbeddingModel('embedded', { method: 'inbedder', generate: 5, layer: [1, -1] });
    const window = {
      ...bare.decoder.config,
      layers: bare.decoder.config.layers.map((l) => ({ ...l, window: 6 })),
    };
    for (const config of [bare.decoder.config, window]) {
      const model = { ...bare, decoder: { ...bare.decoder, config } };
      const [kept, anew] = [true, false].map((cache) => createModelEncoder(model, { threads: 1, cache }));
      const [all, one, expected] = [
        await kept!.encode(texts),
        await kept!.encode(texts.slice(1, 2)),
        await anew!.encode(texts),
      ];
      const { dimensions } = expected;
      expect(relativeDifference(all.data, expected.data)).toBeLessThan(1e-5);
      expect(relativeDifference(one.data, expected.data.subarray(dimensions, 2 * dimensions))).toBeLessThan(
        1e-5,
      );
      await kept!.dispose();
      await anew!.dispose();
    }
  });

  it('one token needs no generation; five give another vector', async () => {
    const encode = async (generate: number | undefined): Promise<Float32Array> => {
      const embedder = await Embedder.open('embedded', {
        method: 'inbedder',
        threads: 1,
        ...(generate === undefined ? {} : { generate }),
      });
      const { data } = await embedder.encode(texts);
      await embedder.dispose();
      return data;
    };
    const [none, one, five] = [await encode(undefined), await encode(1), await encode(5)];
    expect(one).toEqual(none);
    expect(relativeDifference(five, one)).toBeGreaterThan(1e-3);
  });

  it('says what it cannot do', async () => {
    const open = (options: object): Promise<unknown> => loadEmbeddingModel('embedded', options);
    await expect(open({ method: 'inbedder', generate: 4, attention: 'bidirectional' })).rejects.toThrow(
      /causal decoder/,
    );
    await expect(open({ method: 'mean', generate: 4 })).rejects.toThrow(/behind the last token/);
    await expect(open({ method: 'inbedder', generate: 0 })).rejects.toThrow(/unusable generate/);
    const folder = await mkdtemp(join(tmpdir(), 'generate-'));
    const output = join(folder, 'embedder');
    await expect(
      exportEmbedder({ model: 'embedded', method: 'inbedder', generate: 4, output }),
    ).rejects.toThrow(/several passes/);
    await rm(folder, { recursive: true });
    const pooling = { type: 'last', generate: 4 };
    const stage = { objective: 'simcse', maxSteps: 1, batchTexts: 2, maxTokens: 16, learningRate: 1e-4 };
    const parsed = runSchema.safeParse({
      ...{ model: 'embedded', attention: 'causal', pooling, stages: { stage }, output: 'x' },
    });
    expect(parsed.error?.issues.map(({ path }) => path.join('.'))).toContain('pooling.generate');
  });
});
