import fc from 'fast-check';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { exportFolder } from '../../src/export/folder.js';
import { quantiseBlocks } from '../../src/export/formats/four-bit.js';
import { quantiseColumns, quantiseRows } from '../../src/export/formats/int8.js';
import { floats } from '../../src/compiler/program.js';
import { OnnxEmbedder } from '../../src/export/onnx-embedder.js';
import { openSafetensors } from '../../src/models/weights/index.js';
import { valuesOf } from '../../src/models/resident.js';
import { exportFormats, type ExportFormat } from '../../src/pooling/manifest.js';
import { encodeWith, largestDifference, modelWith, temporaryFolders, texts } from './models.js';

const temporary = temporaryFolders();
const dtypes = ['fp16', 'int8', 'q4'] as const;

const matrix = fc
  .tuple(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 5 }))
  .chain(([rows, columns]) =>
    fc
      .array(fc.float({ min: -100, max: 100, noNaN: true }), {
        minLength: rows * columns,
        maxLength: rows * columns,
      })
      .map((values) => ({ rows, columns, data: Float32Array.from(values) })),
  );

describe('numbers in few bits', () => {
  it('8 bits: each is within half a step of its row or column', () => {
    fc.assert(
      fc.property(matrix, ({ rows, columns, data }) => {
        const [byColumn, columnScales] = quantiseColumns(data, rows, columns);
        const [byRow, rowScales] = quantiseRows(data, rows, columns);
        data.forEach((value, i) => {
          const column = columnScales[i % columns]!;
          const row = rowScales[Math.floor(i / columns)]!;
          expect(Math.abs((byColumn[i]! - 128) * column - value)).toBeLessThanOrEqual(column * 0.501);
          expect(Math.abs(byRow[i]! * row - value)).toBeLessThanOrEqual(row * 0.501);
        });
      }),
    );
  });

  it('4 bits: the largest of a block is kept to a step, and 16 numbers in steps are given back', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -8, max: 7 }), { minLength: 32, maxLength: 64 }), (steps) => {
        steps[0] = -8;
        if (steps.length > 32) steps[32] = -8;
        const data = Float32Array.from(steps, (step) => step * 0.25);
        const [packed, scales] = quantiseBlocks(data, data.length, 1);
        const given = steps.map((_, i) => {
          const byte = packed[Math.floor(i / 2)]!;
          return ((i % 2 === 0 ? byte & 15 : byte >> 4) - 8) * scales[Math.floor(i / 32)]!;
        });
        expect(given).toEqual([...data]);
      }),
    );
  });
});

async function exported(
  model: Awaited<ReturnType<typeof modelWith>>,
  formats: readonly ExportFormat[],
  options: Parameters<typeof exportFolder>[2] = {},
) {
  const output = join(await temporary(), 'embedder');
  return { output, ...(await exportFolder(model, output, { formats, ...options })) };
}

/** Smallest cosine of rows of unit vectors. */
function cosines(a: Float32Array, b: Float32Array, dimensions: number): number {
  let least = 1;
  for (let start = 0; start < a.length; start += dimensions) {
    let dot = 0;
    for (let i = start; i < start + dimensions; i++) dot += a[i]! * b[i]!;
    least = Math.min(least, dot);
  }
  return least;
}

const floor = { float32: 0.999999, fp16: 0.99999, int8: 0.99, q4: 0.8 };

describe('an embedder in every format', () => {
  it.each(['none', 'tanh'] as const)(
    'has a dense head (%s) in float32, as 2_Dense has it',
    async (activation) => {
      const head = { type: 'dense', dimensions: 5, bias: true, activation } as const;
      const model = await modelWith({ pooling: { type: 'mean', layer: -1, head } });
      const { output, files } = await exported(model, exportFormats);
      const stored = await openSafetensors(join(output, '2_Dense/model.safetensors'));
      const [weight, bias] = [await stored.read('linear.weight'), await stored.read('linear.bias')];
      await stored.close();
      const ids = Int32Array.of(3, 9, 4, 7, 5);
      const text = { ids, pool: new Uint8Array(ids.length).fill(1) };
      const hidden = model.decoder.config.hidden_size;
      for (const { path, pooled } of files) {
        const session = await OnnxEmbedder.open(join(output, path), pooled, { device: 'cpu' });
        const states = floats(await session.value('last_hidden_state', [text], 'right'));
        const { data } = await session.run([text], 'right');
        await session.dispose();
        const projected = Array.from(bias, (start, row) => {
          let sum = start;
          for (let i = 0; i < states.length; i++)
            sum += (states[i]! * weight[row * hidden + (i % hidden)]!) / ids.length;
          return activation === 'tanh' ? Math.tanh(sum) : sum;
        });
        const length = Math.hypot(...projected);
        const expected = projected.map((value) => value / length);
        expect([path, largestDifference(data, expected) < 1e-6]).toEqual([path, true]);
      }
    },
  );

  it('names its files as other tools look for them, and opens the one asked for', async () => {
    const model = await modelWith({ attention: 'bidirectional', pooling: { type: 'mean', layer: -1 } });
    const { output, files } = await exported(model, exportFormats);
    expect((await readdir(join(output, 'onnx'))).sort()).toEqual([
      'model.onnx',
      'model_fp16.onnx',
      'model_q4.onnx',
      'model_quantized.onnx',
    ]);
    const expected = await encodeWith(model);
    const sizes: number[] = [];
    for (const { path, format } of files) {
      const embedder = await Embedder.open(output, { dtype: format });
      const { data, dimensions } = await embedder.encode(texts);
      await embedder.dispose();
      expect(cosines(data, expected.data, dimensions)).toBeGreaterThan(floor[format]);
      // It is another file, not the same under its name.
      if (format !== 'float32') expect(largestDifference(data, expected.data)).toBeGreaterThan(1e-6);
      sizes.push((await stat(join(output, path))).size);
    }
    const [float32, fp16, int8] = sizes as [number, number, number];
    expect(fp16).toBeLessThan(float32);
    expect(int8).toBeLessThan(fp16);
    const card = await readFile(join(output, 'README.md'), 'utf8');
    for (const { path } of files) expect(card).toContain(`\`${path}\``);
    expect(card).toContain("dtype: 'fp32' }); // or 'fp16', 'q8', 'q4'");
  });

  it('8-bit embeddings do not depend on the texts beside them', async () => {
    const model = await modelWith({ attention: 'bidirectional', pooling: { type: 'mean', layer: -1 } });
    const { output } = await exported(model, ['int8']);
    const embedder = await Embedder.open(output);
    expect(embedder.file?.format).toBe('int8');
    const together = await embedder.encode(texts);
    for (const [i, text] of texts.entries()) {
      const alone = await embedder.encode(text);
      const row = together.data.subarray(i * alone.dimensions, (i + 1) * alone.dimensions);
      expect(largestDifference(alone.data, row)).toBeLessThan(1e-5);
    }
    await embedder.dispose();
  });

  it.each(['../families/gpt2', '../families/gemma3', '../mixtures/olmoe', '../mixtures/deepseek'])(
    'other decoders: %s',
    async (family) => {
      const model = await modelWith({ pooling: { type: 'mean', layer: -1 } }, family);
      const { files } = await exported(model, dtypes);
      for (const { format, verification } of files)
        expect(verification.meanCosine).toBeGreaterThan(floor[format] - 0.05);
    },
  );

  it('keeps in float32 what float16 cannot hold', async () => {
    const model = await modelWith({ attention: 'bidirectional' });
    const [, weight] = [...model.decoder.weights].find(([key]) => key.endsWith('0.mlp.down_proj.weight'))!;
    const down = valuesOf(weight);
    for (let i = 0; i < down.length; i++) down[i]! *= 1e6;
    const { files } = await exported(model, ['fp16']);
    expect(files[0]?.verification.productsInFloat32).toBeGreaterThanOrEqual(1);
    expect(files[0]?.verification.smallestCosine).toBeGreaterThan(floor.fp16);
  });

  it('large weights lie in a second file, whatever their format', async () => {
    const model = await modelWith({ attention: 'bidirectional' });
    const { output, files } = await exported(model, exportFormats, { externalAbove: 1000 });
    const names = files.map(({ path }) => path.replace('onnx/', ''));
    expect((await readdir(join(output, 'onnx'))).sort()).toEqual(
      names.flatMap((name) => [name, `${name}_data`]).sort(),
    );
    const config = JSON.parse(await readFile(join(output, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config['transformers.js_config']).toEqual({
      use_external_data_format: Object.fromEntries(names.map((name) => [name, 1])),
    });
    for (const { format, verification } of files)
      expect(verification.meanCosine).toBeGreaterThan(floor[format]);
  });

  it('a prompt whose tokens are not pooled: every format takes the pool mask', async () => {
    const model = await modelWith({ prompt: 'the "{text}":"', attention: 'bidirectional' });
    const { output } = await exported(model, ['float32', 'int8']);
    expect((await readdir(join(output, 'onnx'))).sort()).toEqual([
      'model_pool_mask.onnx',
      'model_pool_mask_quantized.onnx',
    ]);
    const embedder = await Embedder.open(output, { dtype: 'int8' });
    const { data, dimensions } = await embedder.encode(texts);
    await embedder.dispose();
    expect(cosines(data, (await encodeWith(model)).data, dimensions)).toBeGreaterThan(floor.int8);
  });
});

describe('what a format costs', () => {
  it('is measured on evaluation sets and said in the card', async () => {
    const model = await modelWith({ attention: 'bidirectional', pooling: { type: 'mean', layer: -1 } });
    const set = join(await temporary(), 'pairs.tsv');
    const pairs = texts.flatMap((first, i) =>
      texts.slice(i).map((second, j) => `${(i + 2 * j) % 5}\t${first}\t${second}`),
    );
    await writeFile(set, `score\tsentence1\tsentence2\n${pairs.join('\n')}\n`);
    const evaluate = { tasks: [set], folder: 'embedded', split: 'dev', protocol: 'mteb' } as const;
    const { output, files } = await exported(model, ['float32', 'q4'], { evaluate });
    const [float32, q4] = files.map(({ verification }) => verification.sets);
    expect(float32?.texts).toBe(texts.length);
    expect(float32?.smallestCosine).toBeGreaterThan(0.999999);
    expect(float32?.scores[0]?.file).toBeCloseTo(float32?.scores[0]?.model ?? NaN, 9);
    expect(q4?.meanCosine).toBeLessThan(0.99999);
    expect(await readFile(join(output, 'README.md'), 'utf8')).toContain(`On the ${texts.length} texts of`);
  });

  it('a folder without the file that is asked for says which it has', async () => {
    const { output } = await exported(await modelWith({}), ['float32', 'int8']);
    await expect(Embedder.open(output, { dtype: 'q4' })).rejects.toThrow(/float32, int8/);
    await expect(Embedder.open(output, { dtype: 'int8', pooling: 'first' })).rejects.toThrow(/recipe/);
  });
});
