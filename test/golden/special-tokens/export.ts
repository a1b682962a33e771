import { readFile } from 'node:fs/promises';
import { exportFolder } from '../../../src/export/folder.js';
import { decoderWithTokens } from '../../../src/models/added-tokens.js';
import { loadEmbeddingModel } from '../../../src/pooling/load-model.js';
import { specialTokens } from '../../../src/pooling/registry.js';

/** Longer texts are cut: the last of `TEXTS` in openers.py is. */
const MAX_TOKENS = 14;

/** The tied tiny Llama with the rows of golden.json, exported: what openers.py opens. */
export async function exportGolden(output: string, aggregate: 'last' | 'mean'): Promise<void> {
  const { rows } = JSON.parse(await readFile(new URL('golden.json', import.meta.url), 'utf8')) as {
    readonly rows: readonly number[];
  };
  const model = await loadEmbeddingModel(new URL('../llama/tied', import.meta.url).pathname);
  const pooling = { type: 'specialTokens', layer: -1, tokens: 3, aggregate } as const;
  const decoder = decoderWithTokens(model.decoder, specialTokens(pooling), { rows: Float32Array.from(rows) });
  await exportFolder(
    { ...model, decoder, recipe: { ...model.recipe, pooling, maxTokens: MAX_TOKENS } },
    output,
  );
}

const [output, aggregate] = process.argv.slice(2);
if (import.meta.url.endsWith(process.argv[1] ?? '') && output !== undefined)
  await exportGolden(output, aggregate === 'mean' ? 'mean' : 'last');
