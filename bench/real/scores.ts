import { readFile } from 'node:fs/promises';
import { pairedBootstrap, type ScoredPairs } from '../../src/evaluation/bootstrap.js';
import { evaluateTasks, type EvalResult } from '../../src/evaluation/evaluate.js';
import { resultTable, scoreCell, type ReportRow } from '../../src/evaluation/report.js';
import type { TaskSelection } from '../../src/evaluation/sts.js';
import { openModel, type ModelOptions } from '../../src/recipes/open-model.js';
import { exists, writeFileAtomic } from '../../src/shared/files.js';

/** A model's results; they are kept in the file `kept`, and taken from there where it is. */
export async function keptResults(
  kept: string,
  model: ModelOptions,
  selection: TaskSelection,
): Promise<readonly EvalResult[]> {
  if (!(await exists(kept))) {
    const opened = await openModel({ ...model, probe: false });
    try {
      const results = await evaluateTasks({ ...selection, encode: opened.encode });
      const numbers = results.map(({ scored, ...result }) => ({
        ...result,
        scored: { ...scored, gold: [...scored.gold], similarity: [...scored.similarity] },
      }));
      await writeFileAtomic(kept, JSON.stringify(numbers));
    } finally {
      await opened.close();
    }
  }
  const results = JSON.parse(await readFile(kept, 'utf8')) as (EvalResult & { scored: KeptPairs })[];
  return results.map((result) => ({
    ...result,
    scored: {
      name: result.scored.name,
      gold: Float64Array.from(result.scored.gold),
      similarity: Float64Array.from(result.scored.similarity),
    },
  }));
}

interface KeptPairs {
  readonly name: string;
  readonly gold: ArrayLike<number>;
  readonly similarity: ArrayLike<number>;
}

export interface NamedRow extends ReportRow {
  /** What comparisons call it. */
  readonly key: string;
}

/** The table, then the comparisons between rows that are there, as Markdown. */
export function markdownReport(
  rows: readonly NamedRow[],
  comparisons: readonly (readonly [string, readonly string[], readonly string[]])[],
): string {
  const scoredOf = (keys: readonly string[]): ScoredPairs[] | undefined => {
    const found = keys.map((key) => rows.find((row) => row.key === key)?.results.map(({ scored }) => scored));
    return found.every((scored) => scored !== undefined) ? found.flat() : undefined;
  };
  const lines = comparisons.flatMap(([title, keysA, keysB]) => {
    const [ofA, ofB] = [scoredOf(keysA), scoredOf(keysB)];
    if (ofA === undefined || ofB === undefined) return [];
    const compared = pairedBootstrap(ofA, ofB, { resamples: 1000, seed: 0 });
    if (compared === undefined) return [];
    const { difference, interval, pValue } = compared;
    const sign = difference < 0 ? '' : '+';
    return [`| ${title} | ${sign}${scoreCell(difference, interval)} | ${pValue.toFixed(3)} |`];
  });
  const table = resultTable(rows, { format: 'markdown' });
  if (lines.length === 0) return table;
  const header = [
    '| paired bootstrap over the same pairs, 1000 resamples | difference | p |',
    '|---|---:|---:|',
  ];
  return [table, '', ...header, ...lines].join('\n');
}
