import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { ExportFormat } from '../../src/pooling/manifest.js';
import { exportEmbedder } from '../../src/recipes/export.js';
import { openModel } from '../../src/recipes/open-model.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

interface Golden {
  readonly texts: readonly string[];
  /** By tool and file. */
  readonly vectors: Readonly<Record<string, readonly (readonly number[])[]>>;
}
const path = join(import.meta.dirname, '../golden/openers/golden.json');
const golden = JSON.parse(await readFile(path, 'utf8')) as Golden;

/** Greatest difference of a number. Products of int8 differ from processor to processor, by a step of the activations. */
const files: Readonly<Record<string, readonly [ExportFormat, number]>> = {
  'model.safetensors': ['float32', 1e-5],
  'model.onnx': ['float32', 1e-5],
  'model_fp16.onnx': ['fp16', 1e-4],
  'model_quantized.onnx': ['int8', 0.02],
  'model_q4.onnx': ['q4', 0.005],
};

const cwd = await mkdtemp(join(tmpdir(), 'lmvec-openers-'));
const folder = join(cwd, 'embedder');
beforeAll(() =>
  exportEmbedder({
    model: 'embedded',
    attention: 'bidirectional',
    output: folder,
    formats: ['float32', 'fp16', 'int8', 'q4'],
  }),
);
afterAll(() => rm(cwd, { recursive: true }));

it('knows nine ways to open the folder', () => {
  expect(Object.keys(golden.vectors)).toHaveLength(9);
});

it.each(Object.keys(golden.vectors))('gives what %s gave', async (tool) => {
  const file = tool.split(', ').at(-1) ?? '';
  const [dtype, tolerance] = files[file]!;
  const opened = await openModel({ model: folder, dtype, probe: false });
  const { data, dimensions } = await opened.encode(golden.texts).finally(() => opened.close());
  let greatest = 0;
  for (const [row, vector] of golden.vectors[tool]!.entries()) {
    expect(vector).toHaveLength(dimensions);
    for (const [i, value] of vector.entries())
      greatest = Math.max(greatest, Math.abs(value - data[row * dimensions + i]!));
  }
  expect(greatest).toBeLessThan(tolerance);
});
