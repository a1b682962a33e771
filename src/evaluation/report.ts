import { pairedBootstrap } from './bootstrap.js';
import { averageScore, type EvalResult, type ScoringOptions } from './evaluate.js';
import { stsTasks } from './sts.js';

/** One row of the table: a model or a baseline. */
export interface ReportRow {
  readonly name: string;
  readonly results: readonly EvalResult[];
}

export interface ReportOptions extends ScoringOptions {
  readonly format?: 'text' | 'markdown';
  /** Adds `[low, high]` to each number (default true). */
  readonly intervals?: boolean;
}

/**
 * A table of main scores x 100: rows are models, columns are sets, then the average over those
 * of the seven standard sets that every row has (where there are none: over the sets that every row has).
 * Protocol, split and what is left out of the average are named below it.
 */
export function resultTable(rows: readonly ReportRow[], options: ReportOptions = {}): string {
  const { format = 'text' } = options;
  const cells = resultRows(rows, options);
  const table = format === 'markdown' ? markdown(cells) : aligned(cells);
  return [table, ...(format === 'markdown' ? [''] : []), ...resultNotes(rows, options)].join('\n');
}

/** The cells of `resultTable`, its head first. */
export function resultRows(rows: readonly ReportRow[], options: ReportOptions = {}): string[][] {
  const { intervals = true } = options;
  const { columns, shared } = columnsAndShared(rows);
  const averaged = shared.length > 1;
  const header = ['', 'protocol', ...columns.map(({ title }) => title), ...(averaged ? ['average'] : [])];
  const body = rows.map((row) => {
    const cells = columns.map(({ key }) => {
      const result = row.results.find((candidate) => keyOf(candidate) === key);
      return result === undefined ? '' : scoreCell(result.mainScore, intervals ? result.interval : undefined);
    });
    if (!averaged) return [row.name, protocolOf(row), ...cells];
    const average = averageScore(
      sharedResults(row, shared),
      intervals ? options : { ...options, bootstrap: 0 },
    );
    return [row.name, protocolOf(row), ...cells, scoreCell(average.value, average.interval)];
  });
  return [header, ...body];
}

/** The lines below `resultTable`: protocol, split, and what the average is over. */
export function resultNotes(rows: readonly ReportRow[], options: ReportOptions = {}): string[] {
  const { columns, shared } = columnsAndShared(rows);
  const average = shared.length > 1 ? [averageNote(columns, shared)] : [];
  return [caption(rows, options.intervals ?? true), ...average, ...rows.flatMap(sparsityNote)];
}

/** How sparse a row's vectors are, where they are. */
function sparsityNote({ name, results }: ReportRow): string[] {
  const { sparsity } = results.find((result) => result.sparsity !== undefined) ?? {};
  if (sparsity === undefined) return [];
  const { active, dimensions, flops } = sparsity;
  return [
    `${name}: ${active.toFixed(1)} of ${String(dimensions)} numbers of a vector are not zero; an inner product takes ${flops.toFixed(2)} multiplications (FLOPS)`,
  ];
}

/** Every column, and those that the average is over. */
function columnsAndShared(rows: readonly ReportRow[]): {
  readonly columns: Column[];
  readonly shared: Column[];
} {
  const columns = columnsOf(rows);
  const inAll = columns.filter(({ key }) =>
    rows.every((row) => row.results.some((result) => keyOf(result) === key)),
  );
  return { columns, shared: inAll.some(isStandard) ? inAll.filter(isStandard) : inAll };
}

/**
 * One line: by how much row `a` is better than row `b` on average over the sets that both have, with the paired bootstrap's
 * interval and p value.
 */
export function comparisonLine(a: ReportRow, b: ReportRow, options: ScoringOptions = {}): string {
  const { bootstrap = 1000, seed = 0 } = options;
  const pairs = a.results.flatMap((result) => {
    const other = b.results.find((candidate) => isSamePairs(candidate, result));
    return other === undefined ? [] : [{ ofA: result, ofB: other }];
  });
  const title = `${a.name} against ${b.name}`;
  if (pairs.length === 0) return `${title}: no evaluation set in common`;
  const compared = pairedBootstrap(
    pairs.map(({ ofA }) => ofA.scored),
    pairs.map(({ ofB }) => ofB.scored),
    { resamples: bootstrap, seed },
  );
  const over = pairs.map(({ ofA }) => ofA.task).join(', ');
  if (compared === undefined) return `${title}: no correlation to compare over ${over}`;
  const { difference, interval, pValue } = compared;
  const sign = difference < 0 ? '' : '+';
  const p = pValue.toFixed(3);
  return `${title}: ${sign}${scoreCell(difference, interval)} over ${over} (paired bootstrap, ${String(bootstrap)} resamples, p = ${p})`;
}

/** A set's subsets, one line each, as extra lines beside its main score. */
export function subsetLines(result: EvalResult): string {
  const rows = result.subsets.map(({ name, pairs, spearman }) => [
    `  ${name}`,
    String(pairs),
    scoreCell(spearman),
  ]);
  const title = `${result.task} ${result.split}, protocol ${result.protocol}: cosine Spearman x 100 by subset (subset, pairs, score)`;
  return rows.length === 0
    ? `${result.task} ${result.split} has no subsets`
    : [title, aligned(rows)].join('\n');
}

/** `66.89` or `66.89 [65.7, 68.0]`; `undefined` where there is no correlation. */
export function scoreCell(score: number, interval?: { readonly low: number; readonly high: number }): string {
  if (Number.isNaN(score)) return 'undefined';
  const value = (100 * score).toFixed(2);
  if (interval === undefined) return value;
  return `${value} [${(100 * interval.low).toFixed(1)}, ${(100 * interval.high).toFixed(1)}]`;
}

interface Column {
  readonly key: string;
  readonly task: string;
  readonly title: string;
}

/** Standard sets first, in their order; then others as they come. The split and the rows read are named where not plain. */
function columnsOf(rows: readonly ReportRow[]): Column[] {
  const results = rows.flatMap((row) => row.results);
  const oneSplit = new Set(results.map((result) => result.split)).size === 1;
  const columns = new Map<string, Column>();
  for (const result of results) {
    const { task, split, everyNthRow } = result;
    const parts = [task, oneSplit ? '' : split, everyNthRow === 1 ? '' : `1/${String(everyNthRow)}`];
    columns.set(keyOf(result), {
      key: keyOf(result),
      task,
      title: parts.filter((part) => part !== '').join(' '),
    });
  }
  const standing = ({ task }: Column): number => {
    const at = (stsTasks as readonly string[]).indexOf(task);
    return at < 0 ? stsTasks.length : at;
  };
  return [...columns.values()].sort((a, b) => standing(a) - standing(b));
}

function keyOf({ task, split, everyNthRow }: EvalResult): string {
  return JSON.stringify([task, split, everyNthRow]);
}

/** The same pairs, also where the two rows read different texts of them. */
function isSamePairs(a: EvalResult, b: EvalResult): boolean {
  return (
    keyOf(a) === keyOf(b) &&
    a.scored.gold.every((score, i) => score === b.scored.gold[i]) &&
    a.pairs === b.pairs
  );
}

function sharedResults(row: ReportRow, shared: readonly Column[]): EvalResult[] {
  return shared.flatMap(({ key }) => row.results.filter((result) => keyOf(result) === key).slice(0, 1));
}

function protocolOf({ results }: ReportRow): string {
  return [...new Set(results.map((result) => result.protocol))].join(' + ');
}

function caption(rows: readonly ReportRow[], intervals: boolean): string {
  const results = rows.flatMap((row) => row.results);
  const meanings = {
    mteb: 'mteb = original text',
    senteval: 'senteval = SentEval tokenised, lower-cased text',
    file: 'file = the text of the set as it is',
  };
  const used = [...new Set(results.map((result) => result.protocol))].map((protocol) => meanings[protocol]);
  const usedSplits = [...new Set(results.map((result) => result.split))];
  const resamples = results.find((result) => result.interval !== undefined)?.interval?.resamples;
  const bootstrap =
    intervals && resamples !== undefined ? `; [bootstrap 95 % interval, ${String(resamples)} resamples]` : '';
  return `Cosine Spearman x 100, whole file; split ${usedSplits.join(', ')}; protocol ${used.join(', ')}${bootstrap}.`;
}

function averageNote(columns: readonly Column[], shared: readonly Column[]): string {
  const over = shared.map(({ title }) => title).join(', ');
  const others = columns.filter((column) => !shared.includes(column));
  const absent = columns.some(isStandard)
    ? stsTasks.filter((name) => !columns.some(({ task }) => task === name))
    : [];
  const leftOut = [
    ...named(others.filter(isStandard), 'not in every row'),
    ...named(
      others.filter((column) => !isStandard(column)),
      shared.some(isStandard) ? 'not one of the seven' : 'not in every row',
    ),
    ...(absent.length === 0 ? [] : [`${absent.join(', ')} (not evaluated)`]),
  ];
  return `Average over ${over}${leftOut.length === 0 ? '' : `; left out: ${leftOut.join(', ')}`}.`;
}

function named(columns: readonly Column[], why: string): string[] {
  return columns.length === 0 ? [] : [`${columns.map(({ title }) => title).join(', ')} (${why})`];
}

function isStandard({ task }: Column): boolean {
  return (stsTasks as readonly string[]).includes(task);
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, c) => Math.max(...rows.map((row) => (row[c] ?? '').length)));
  return rows
    .map((row) => row.map((cell, c) => (c < 2 ? cell.padEnd(widths[c] ?? 0) : cell.padStart(widths[c] ?? 0))))
    .map((cells) => cells.join('  ').trimEnd())
    .join('\n');
}

function markdown(rows: readonly (readonly string[])[]): string {
  const escaped = rows.map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const [header = [], ...body] = escaped;
  const rule = header.map((_, c) => (c < 2 ? '---' : '---:'));
  return [header, rule, ...body].map((row) => `| ${row.join(' | ')} |`).join('\n');
}
