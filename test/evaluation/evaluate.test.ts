import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { baselines, baselineSimilarities, evaluateBaseline, terms } from '../../src/evaluation/baselines.js';
import type { Encode } from '../../src/evaluation/encoder.js';
import { averageScore, evaluateTasks, type EvaluateOptions } from '../../src/evaluation/evaluate.js';
import { similarities, type Similarity } from '../../src/evaluation/similarity.js';
import { pearson, spearman } from '../../src/evaluation/statistics.js';
import { folderWith, hasRealData, header, realData } from './sets.js';

const golden = JSON.parse(
  readFileSync(new URL('../golden/statistics/statistics.json', import.meta.url), 'utf8'),
) as {
  baselines: { pairs: [string, string][]; terms: string[][] } & Record<
    (typeof baselines)[number],
    Record<Similarity, number[]>
  >;
};

/** Counts of the letters a to z: a true, if simple, embedding. */
const letterCounts: Encode = (texts) => {
  const data = new Float32Array(texts.length * 26);
  for (const [row, text] of texts.entries()) {
    for (const letter of text.toLowerCase()) {
      const column = letter.charCodeAt(0) - 97;
      if (column >= 0 && column < 26) data[row * 26 + column] = (data[row * 26 + column] ?? 0) + 1;
    }
  }
  return Promise.resolve({ rows: texts.length, dimensions: 26, data });
};

const pairs = `${header}5\tabc\tabc\n4\tabc\tabd\n1\tabc\txyz\n2\txyz\tabz\n3\tfgh\tghi\n0\tfgh\tabd\n`;
const subsets = 'one\none\none\ntwo\ntwo\ntwo\n';

async function options(other: Partial<EvaluateOptions> = {}): Promise<EvaluateOptions> {
  const folder = await folderWith({
    'STS12/test.tsv': pairs,
    'STS12/test.subset.txt': subsets,
    'STSb/test.tsv': `${header}5\tabc\tabc\n1\txyz\thello\n2\tfgh\thalf\n`,
  });
  return {
    encode: letterCounts,
    tasks: ['STS12', 'STSb'],
    folder,
    split: 'test',
    protocol: 'mteb',
    ...other,
  };
}

describe('evaluateTasks', () => {
  test('embeds each different sentence of all sets once, in one call', async () => {
    const calls: string[][] = [];
    const encode: Encode = (texts) => {
      calls.push([...texts]);
      return letterCounts(texts);
    };
    await evaluateTasks(await options({ encode }));
    expect(calls).toHaveLength(1);
    expect([...(calls[0] ?? [])].sort()).toEqual(['abc', 'abd', 'abz', 'fgh', 'ghi', 'half', 'hello', 'xyz']);
  });

  test("embeds a task's texts with the prompt named like it, else like its type, else the default", async () => {
    const picked = async (prompts?: string[]) => {
      const calls: Record<string, string[]> = {};
      const encode: Encode = (texts, promptName) => {
        calls[promptName ?? 'default'] = [...texts].sort();
        return letterCounts(texts);
      };
      const results = await evaluateTasks(
        await options({ encode, bootstrap: 0, ...(prompts === undefined ? {} : { prompts }) }),
      );
      expect(results.map(({ task }) => task)).toEqual(['STS12', 'STSb']);
      return { calls, used: results.map(({ prompt }) => prompt) };
    };
    expect(await picked(['query'])).toMatchObject({ used: [undefined, undefined] });
    expect(await picked(['STS', 'query'])).toMatchObject({ used: ['STS', 'STS'] });
    // MTEB's name of STSb.
    const { calls, used } = await picked(['STS', 'STSBenchmark']);
    expect(used).toEqual(['STS', 'STSBenchmark']);
    expect(calls).toEqual({
      STS: ['abc', 'abd', 'abz', 'fgh', 'ghi', 'xyz'],
      STSBenchmark: ['abc', 'fgh', 'half', 'hello', 'xyz'],
    });
    expect(await picked(['STSb', 'STSBenchmark'])).toMatchObject({ used: [undefined, 'STSb'] });
  });

  test('scores by the written-out formulas', async () => {
    const [result] = await evaluateTasks(await options());
    const gold = [5, 4, 1, 2, 3, 0];
    const shared = [3, 2, 0, 1, 2, 0];
    const cosines = shared.map((count) => count / 3);
    const distances = shared.map((count) => -2 * (3 - count));
    expect(result).toMatchObject({ task: 'STS12', pairs: 6, protocol: 'mteb', split: 'test' });
    expect(result?.spearman.cosine).toBeCloseTo(spearman(gold, cosines), 12);
    expect(result?.pearson.cosine).toBeCloseTo(pearson(gold, cosines), 12);
    expect(result?.pearson.dot).toBeCloseTo(pearson(gold, shared), 12);
    expect(result?.pearson.manhattan).toBeCloseTo(pearson(gold, distances), 12);
    expect(result?.pearson.euclidean).toBeCloseTo(
      pearson(
        gold,
        distances.map((d) => -Math.sqrt(-d)),
      ),
      12,
    );
    expect(result?.mainScore).toBe(result?.spearman.cosine);
    expect(result?.subsets).toMatchObject([
      { name: 'one', pairs: 3 },
      { name: 'two', pairs: 3 },
    ]);
    expect(result?.subsets[0]?.spearman).toBeCloseTo(1, 12);
    expect(result?.subsets[1]?.spearman).toBeCloseTo(spearman([2, 3, 0], [1, 2, 0]), 12);
    expect(result?.interval?.low).toBeLessThan(result?.mainScore ?? NaN);
  });

  test('gives no interval where none is asked for, and the same one for the same seed', async () => {
    const given = await options({ seed: 4, bootstrap: 100 });
    const [once, again] = [await evaluateTasks(given), await evaluateTasks(given)];
    expect(once[0]?.interval).toEqual(again[0]?.interval);
    const [plain] = await evaluateTasks({ ...given, bootstrap: 0 });
    expect(plain).not.toHaveProperty('interval');
  });

  test('an encoder that gives all texts the same vector has no correlation', async () => {
    const encode: Encode = (texts) =>
      Promise.resolve({
        rows: texts.length,
        dimensions: 3,
        data: new Float32Array(texts.length * 3).fill(0.1),
      });
    const [result] = await evaluateTasks(await options({ encode }));
    expect(result?.mainScore).toBeNaN();
    expect(result).not.toHaveProperty('interval');
  });

  test('refuses embeddings that are not finite, naming the text, and wrong shapes', async () => {
    const broken: Encode = async (texts) => {
      const matrix = await letterCounts(texts);
      matrix.data[texts.indexOf('half') * 26 + 3] = NaN;
      return matrix;
    };
    await expect(evaluateTasks(await options({ encode: broken }))).rejects.toThrow(
      /not finite: got NaN for the text "half"/,
    );
    const short: Encode = (texts) => letterCounts(texts.slice(1));
    await expect(evaluateTasks(await options({ encode: short }))).rejects.toThrow(
      /^internal: .* for 8 texts/,
    );
  });

  test('an average names the sets it is over and those it leaves out', async () => {
    const results = await evaluateTasks(await options({ bootstrap: 50 }));
    const average = averageScore(results, { bootstrap: 50 });
    expect(average.value).toBeCloseTo(
      ((results[0]?.mainScore ?? NaN) + (results[1]?.mainScore ?? NaN)) / 2,
      12,
    );
    expect(average.over).toEqual(['STS12', 'STSb']);
    expect(average.leftOut).toEqual(['STS13', 'STS14', 'STS15', 'STS16', 'SICK-R']);
  });
});

describe('baselines', () => {
  const first = golden.baselines.pairs.map(([a]) => a);
  const second = golden.baselines.pairs.map(([, b]) => b);

  test('terms are words and single punctuation marks', () => {
    expect([...first, ...second].map(terms)).toEqual(golden.baselines.terms);
  });

  test.each(baselines)('%s equals scikit-learn and scipy', (baseline) => {
    const got = baselineSimilarities(baseline, { first, second });
    for (const name of similarities) {
      for (const [p, value] of golden.baselines[baseline][name].entries())
        expect(got[name][p]).toBeCloseTo(value, 9);
    }
  });

  test('come with the same result type and the same pairs as a model', async () => {
    const given = await options();
    const model = await evaluateTasks(given);
    const [floor] = await evaluateBaseline('bagOfWords', given);
    expect(floor).toMatchObject({ task: 'STS12', pairs: 6, subsets: [{ name: 'one' }, { name: 'two' }] });
    expect(floor?.scored.gold).toEqual(model[0]?.scored.gold);
  });
});

// Measured with scikit-learn and scipy from the same definitions (CountVectorizer, ln(N / df), spearmanr).
const reference = {
  bagOfWords: { STS12: 33.67, STS14: 46.3, STS15: 62.01, STSb: 44.54 },
  tfidf: { STS12: 56.1, STS14: 66.86, STS15: 74.99, STSb: 69.58 },
};
describe.skipIf(!hasRealData)('baselines on the real sets', () => {
  test.each(baselines)('%s gives what scikit-learn gives, senteval', async (baseline) => {
    const tasks = ['STS12', 'STS14', 'STS15', 'STSb'] as const;
    const given = { folder: realData, split: 'test', protocol: 'senteval', bootstrap: 0 } as const;
    for (const result of await evaluateBaseline(baseline, { ...given, tasks })) {
      const expected = reference[baseline][result.task as (typeof tasks)[number]];
      expect(Math.abs(100 * result.mainScore - expected)).toBeLessThan(0.03);
    }
  });

  test('an encoder runs over a real set, dev split, every fifth row', async () => {
    const given = {
      tasks: ['STSb'],
      folder: realData,
      split: 'dev',
      protocol: 'mteb',
      everyNthRow: 5,
    } as const;
    const [result] = await evaluateTasks({ ...given, encode: letterCounts });
    expect(result?.pairs).toBe(300);
    expect(result?.mainScore).toBeGreaterThan(0.3);
    expect(result?.file).toBe(join(realData, 'STSb', 'dev.tsv'));
  });
});
