import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import { openSafetensors } from '../../src/models/weights/index.js';
import { exportEmbedder } from '../../src/recipes/export.js';
import { exists } from '../../src/shared/files.js';
import { goldenModel, texts } from '../export/models.js';

const cwd = await mkdtemp(join(tmpdir(), 'lmvec-dimensions-'));
afterAll(() => rm(cwd, { recursive: true }));
const model = goldenModel();

async function vectorsOf(folder: string) {
  const embedder = await Embedder.open(folder);
  try {
    return await embedder.encode(texts);
  } finally {
    await embedder.dispose();
  }
}

it('exports the first numbers at length 1, for sentence-transformers too', async () => {
  await exportEmbedder({ model, output: join(cwd, 'whole') });
  await exportEmbedder({ model, output: join(cwd, 'short'), dimensions: 5 });
  const whole = await vectorsOf(join(cwd, 'whole'));
  const short = await vectorsOf(join(cwd, 'short'));
  expect(short.dimensions).toBe(5);
  for (let row = 0; row < texts.length; row++) {
    const first = [...whole.data.subarray(row * whole.dimensions, row * whole.dimensions + 5)];
    const length = Math.hypot(...first);
    for (const [i, value] of first.entries()) expect(short.data[row * 5 + i]).toBeCloseTo(value / length, 6);
  }
  const path = join(cwd, 'short', '2_Dense', 'model.safetensors');
  expect(await exists(path)).toBe(true);
  const store = await openSafetensors(path);
  expect(store.info('linear.weight')?.shape).toEqual([5, whole.dimensions]);
  await store.close();
});

it.each([0, 25, 2.5])('refuses %s dimensions and writes nothing', async (dimensions) => {
  const output = join(cwd, 'none');
  await expect(exportEmbedder({ model, output, dimensions })).rejects.toThrow(
    `--dimensions: unusable number of dimensions: got ${dimensions}, expected 1 to 24`,
  );
  expect(await exists(output)).toBe(false);
});
