import { describe, expect, it } from 'vitest';
import type { TokenizedText } from '../../src/data/batch.js';
import { Batcher, OverloadedError } from '../../src/server/batcher.js';

/** A text of `length` tokens, all of them `id`. */
function text(id: number, length = 1): TokenizedText {
  return { ids: new Int32Array(length).fill(id), pool: new Uint8Array(length).fill(1) };
}

/** Runs of [first id, length] that end when they are let go. */
function gatedModel(): {
  readonly batches: number[][];
  readonly embed: (
    texts: readonly TokenizedText[],
  ) => Promise<{ rows: number; dimensions: number; data: Float32Array }>;
  readonly open: () => void;
} {
  const batches: number[][] = [];
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  return {
    batches,
    open: () => open(),
    embed: async (texts) => {
      batches.push(texts.map(({ ids }) => ids[0] as number));
      await gate;
      if (texts.some(({ ids }) => ids[0] === 13)) throw new Error('13 cannot be embedded');
      const data = Float32Array.from(texts.flatMap(({ ids }) => [ids[0] as number, ids.length]));
      return { rows: texts.length, dimensions: 2, data };
    },
  };
}

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

describe('Batcher', () => {
  it('joins what waits up to the budget, in order, and gives every asker its own rows', async () => {
    const model = gatedModel();
    const batcher = new Batcher({ embed: model.embed, batchTokens: 4, queueTexts: 100 });
    const first = batcher.embed([text(1), text(2)]);
    const second = batcher.embed([text(3), text(4, 2), text(5, 9)]);
    await soon();
    const third = batcher.embed([text(6)]);
    model.open();
    expect((await first).map((row) => [...row])).toEqual([
      [1, 1],
      [2, 1],
    ]);
    expect((await second).map((row) => [...row])).toEqual([
      [3, 1],
      [4, 2],
      [5, 9],
    ]);
    expect([...((await third)[0] ?? [])]).toEqual([6, 1]);
    // 4 does not fit beside 1, 2 and 3; 5 is longer than the budget and runs alone.
    expect(model.batches).toEqual([[1, 2, 3], [4], [5], [6]]);
    expect(await batcher.embed([])).toEqual([]);
  });

  it('refuses what would wait too long, but never a request that finds nobody waiting', async () => {
    const model = gatedModel();
    const batcher = new Batcher({ embed: model.embed, batchTokens: 1, queueTexts: 2 });
    const large = batcher.embed([text(1), text(2), text(3), text(4)]);
    await soon();
    expect(batcher.waiting).toBe(3);
    await expect(batcher.embed([text(9)])).rejects.toBeInstanceOf(OverloadedError);
    model.open();
    expect(await large).toHaveLength(4);
    expect(await batcher.embed([text(9)])).toHaveLength(1);
  });

  it('fails only those whose batch failed', async () => {
    const model = gatedModel();
    const batcher = new Batcher({ embed: model.embed, batchTokens: 1, queueTexts: 100 });
    const bad = batcher.embed([text(13), text(14)]);
    const good = batcher.embed([text(1)]);
    model.open();
    await expect(bad).rejects.toThrow('13 cannot be embedded');
    expect([...((await good)[0] ?? [])]).toEqual([1, 1]);
    // The rest of the failed request was not run.
    expect(model.batches).toEqual([[13], [1]]);
  });

  it('drops the texts of an asker who is gone', async () => {
    const model = gatedModel();
    const batcher = new Batcher({ embed: model.embed, batchTokens: 1, queueTexts: 100 });
    const gone = new AbortController();
    const first = batcher.embed([text(1)]);
    const dropped = batcher.embed([text(2), text(3)], gone.signal);
    const last = batcher.embed([text(4)]);
    await soon();
    gone.abort(new Error('gone'));
    await expect(dropped).rejects.toThrow('gone');
    model.open();
    await Promise.all([first, last]);
    expect(model.batches).toEqual([[1], [4]]);
  });
});
