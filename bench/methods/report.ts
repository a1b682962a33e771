/** One row of the table: a method, or a baseline without a model. */
export interface MethodRow {
  readonly name: string;
  /** Spearman of the cosine by set, in [-1, 1]; null where it is not defined. */
  readonly scores: Readonly<Record<string, number | null>>;
  /** Seconds for 1,000 sentences; null where no model is run. */
  readonly secondsPer1000: number | null;
  /** Numbers of a vector. */
  readonly dimensions: number | null;
}

/** What a table was measured on: rows of another one are not taken over. */
export interface MethodSettings {
  readonly model: string;
  readonly bytes: number;
  readonly tasks: readonly string[];
  readonly split: string;
  readonly protocol: string;
  readonly everyNthRow: number;
  readonly threads: number;
  /** Sentences that the time was taken over. */
  readonly timedTexts: number;
}

/** The result file. */
export interface MethodReport {
  readonly settings: MethodSettings;
  readonly rows: readonly MethodRow[];
  readonly leftOut: readonly { readonly name: string; readonly reason: string }[];
}

/** The mean of a row's scores; NaN where one is missing. */
export function averageOf({ scores }: MethodRow): number {
  const values = Object.values(scores).map((score) => score ?? NaN);
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The table as Markdown, the best average first. */
export function methodsMarkdown({ settings, rows, leftOut }: MethodReport): string {
  const { tasks, split, protocol, everyNthRow, threads, timedTexts } = settings;
  const averaged = tasks.length > 1;
  const columns = ['method', ...tasks, ...(averaged ? ['average'] : []), 's / 1,000 sentences', 'dimensions'];
  const order = [...rows].sort((a, b) => orLeast(averageOf(b)) - orLeast(averageOf(a)));
  const lines = order.map((row) => [
    row.name,
    ...tasks.map((task) => percent(row.scores[task] ?? NaN)),
    ...(averaged ? [percent(averageOf(row))] : []),
    row.secondsPer1000 === null ? '' : row.secondsPer1000.toFixed(1),
    row.dimensions === null ? '' : String(row.dimensions),
  ]);
  const every = everyNthRow === 1 ? 'all rows' : `rows 1, 1 + ${everyNthRow}, ...`;
  const caption = `Cosine Spearman x 100, split ${split}, protocol ${protocol}, ${every}; time over ${timedTexts} sentences of these sets, ${threads} threads.`;
  const missing = leftOut.map(({ name, reason }) => `${name} (${reason})`);
  return [
    [columns, columns.map((_, i) => (i === 0 ? '---' : '---:')), ...lines]
      .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
      .join('\n'),
    caption,
    ...(missing.length === 0 ? [] : [`Left out: ${missing.join('; ')}.`]),
  ].join('\n\n');
}

function percent(score: number): string {
  return Number.isNaN(score) ? 'n/a' : (100 * score).toFixed(2);
}

function orLeast(value: number): number {
  return Number.isNaN(value) ? -Infinity : value;
}
