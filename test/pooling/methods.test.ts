import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { findMethod, methods } from '../../src/pooling/methods.js';
import { createModelEncoder } from '../../src/pooling/packed-encoder.js';
import { methodTable } from '../../src/recipes/method-table.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'methods-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('methods', () => {
  it.each([...methods.keys()].filter((name) => !name.startsWith('moee')))(
    '%s embeds with a bare decoder',
    async (method) => {
      const model = await loadEmbeddingModel('embedded', { method });
      const encoder = createModelEncoder(model, { threads: 1 });
      try {
        const { data, dimensions, rows } = await encoder.encode(['the horse', 'the house that was built']);
        expect(rows).toBe(2);
        const dot = data
          .subarray(0, dimensions)
          .reduce((sum, value, i) => sum + value * data[dimensions + i]!, 0);
        expect(dot).toBeGreaterThan(-1);
        expect(dot).toBeLessThan(0.99999);
      } finally {
        await encoder.dispose();
      }
    },
  );

  it('what is given beside a method goes before it', async () => {
    const { recipe } = await loadEmbeddingModel('embedded', {
      method: 'bellm',
      layer: 1,
      attention: 'causal',
    });
    expect(recipe).toMatchObject({
      attention: 'causal',
      pooling: { type: 'last', layer: 1 },
      prompt: 'bellm',
    });
    const other = await loadEmbeddingModel('embedded', { method: 'bellm', prompt: 'is {text}' });
    expect(other.recipe).toMatchObject({ attention: { lastLayers: 1 }, prompt: 'is {text}' });
  });

  it('a task goes into the prompt', async () => {
    const { recipe } = await loadEmbeddingModel('embedded', { method: 'gritlm', task: 'Find it' });
    expect(recipe.prompt).toEqual({ frame: 'gritlm', task: 'Find it' });
    await expect(loadEmbeddingModel('embedded', { method: 'mean', task: 'Find it' })).rejects.toThrow(
      /there is no prompt for it/,
    );
    await expect(loadEmbeddingModel('embedded', { method: 'echo', task: 'Find it' })).rejects.toThrow(
      /has no \{task\} for it/,
    );
  });

  it('one of the user is read from YAML', async () => {
    const path = join(folder, 'mine.yaml');
    await writeFile(
      path,
      'description: mine\npooling: {type: weightedMean}\nprompt: {frame: "{text}; again: {text}", pool: lastText}\nattention: {lastLayers: 2}\n',
    );
    expect(await findMethod(path)).toMatchObject({
      description: 'mine',
      attention: { lastLayers: 2 },
      pooling: { type: 'weightedMean', layer: -1 },
    });
    await writeFile(path, 'poling: {type: mean}\n');
    await expect(findMethod(path)).rejects.toThrow(/mine\.yaml:1:1.*unknown key "poling".*pooling/);
  });

  it('an unknown name is one sentence with the nearest', async () => {
    await expect(findMethod('promt-eol')).rejects.toThrow(
      /unknown method: got "promt-eol".*did you mean prompt-eol/,
    );
  });

  it('the table names each with its source', () => {
    const table = methodTable();
    for (const [name, { source, description }] of methods) {
      expect(table).toContain(`${name}\n    ${description}`);
      expect(table).toContain(source);
    }
  });
});
