import { comparisonLine, resultNotes, resultRows, type ReportRow } from '../../evaluation/report.js';
import { formatDuration } from '../../shared/progress.js';
import type { MetricsRecord } from '../metrics.js';
import type { RunRecord } from '../run-record.js';
import { definitions, escaped, htmlTable } from './html.js';
import { histogram } from './histogram.js';
import { lineChart, smoothed, type Curve, type Point } from './line-chart.js';

/** What the page of a run tells. */
export interface ReportPage {
  /** Name of the run folder. */
  readonly name: string;
  readonly record: RunRecord;
  /** Lines of metrics.jsonl. */
  readonly metrics: readonly MetricsRecord[];
  /** Names of the stages with their steps, in their order. */
  readonly stages: readonly { readonly name: string; readonly steps: number }[];
  readonly threads: number | undefined;
  /** Baselines (at the end), before, best. */
  readonly rows: readonly ReportRow[];
  /** Of `rows`: the two that are compared. */
  readonly before?: ReportRow | undefined;
  readonly best?: ReportRow | undefined;
  /** config.resolved.yaml */
  readonly config: string;
}

// Nothing may be fetched and nothing run: the browser itself refuses it.
const policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

const style = `
body { font: 14px/1.5 system-ui, sans-serif; color: #111827; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
svg { width: 100%; max-width: 44rem; font: 12px system-ui, sans-serif; display: block; }
.table { overflow-x: auto; }
table { border-collapse: collapse; } th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #e5e7eb; white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1.2rem; } dt { color: #6b7280; } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f3f4f6; padding: 1rem; overflow-x: auto; font-size: 12px; }
`;

/** The page of a run: one HTML file that needs nothing else and runs no script. */
export function reportPage(page: ReportPage): string {
  const { name, record, rows, config } = page;
  const sections = [
    section('Scores', scores(page)),
    section('Evaluation', evaluationChart(page)),
    section('Loss', page.stages.map(({ name: stage }) => lossChart(stage, page)).join('\n')),
    section('Similarities', rows.length === 0 ? '' : histograms(page)),
    section('Run and device', definitions(facts(page))),
    section('Configuration', `<pre>${escaped(config)}</pre>`),
  ];
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    // Without one the browser asks for favicon.ico.
    '<link rel="icon" href="data:,">',
    `<title>${escaped(name)}: lmvec run</title>`,
    `<style>${style}</style>`,
    '</head>',
    '<body>',
    `<h1>${escaped(name)}</h1>`,
    `<p>${escaped(`lmvec ${record.lmvec}, ${record.status}, started ${record.startedAt}`)}</p>`,
    ...sections,
    '</body>',
    '</html>',
    '',
  ].join('\n');
}

function section(title: string, content: string): string {
  return content.trim() === '' ? '' : `<section>\n<h2>${title}</h2>\n${content}\n</section>`;
}

function scores({ rows, before, best }: ReportPage): string {
  if (rows.length === 0) return '';
  const compared = before === undefined || best === undefined ? [] : [comparisonLine(best, before)];
  return [
    `<div class="table">${htmlTable(resultRows(rows))}</div>`,
    ...[...compared, ...resultNotes(rows)].map((line) => `<p>${escaped(line)}</p>`),
  ].join('\n');
}

/** Steps of all stages one after the other. */
function offsets({ stages }: ReportPage): Map<string, number> {
  let sum = 0;
  return new Map(
    stages.map(({ name, steps }) => {
      const offset = sum;
      sum += steps;
      return [name, offset];
    }),
  );
}

function evaluationChart(page: ReportPage): string {
  const before = offsets(page);
  const records = page.metrics.filter(({ kind }) => kind === 'evaluation');
  const curves = new Map<string, Point[]>();
  for (const { stage, step, scores: own } of records) {
    for (const [task, score] of Object.entries((own ?? {}) as Record<string, number | null>)) {
      const points = curves.get(task) ?? [];
      curves.set(task, points);
      points.push({ x: (before.get(stage) ?? 0) + step, y: score === null ? NaN : 100 * score });
    }
  }
  const boundaries = page.stages.length < 2 ? [] : [...before].map(([name, x]) => ({ name, x }));
  return lineChart({
    title: 'Cosine Spearman x 100',
    xLabel: 'step',
    curves: [...curves].map(([name, points]): Curve => ({ name, points, dots: true })),
    boundaries,
  });
}

function lossChart(stage: string, { metrics }: ReportPage): string {
  const points = stepsOf(metrics)
    .filter((record) => record.stage === stage)
    .map(({ step, loss }) => ({ x: step, y: loss }));
  return lineChart({
    title: `Loss of ${stage}`,
    xLabel: 'step',
    curves: [
      { name: 'each step', points, faint: true },
      { name: 'exponential mean of about 10 steps', points: smoothed(points) },
    ],
  });
}

/** Cosines of the pairs that people found alike and of those that they did not, before and after. */
function histograms({ before, best }: ReportPage): string {
  const states = [before, best].flatMap((row) => (row === undefined ? [] : [row]));
  return states
    .flatMap(({ name, results }) =>
      results.map(({ task, split, scored }) => {
        const gold = [...scored.gold];
        const middle =
          (gold.reduce((a, b) => Math.min(a, b), Infinity) +
            gold.reduce((a, b) => Math.max(a, b), -Infinity)) /
          2;
        const similarity = [...scored.similarity];
        return histogram(`${task} ${split}, ${name}`, [
          {
            name: `score below ${middle}`,
            values: similarity.filter((_, i) => (gold[i] as number) < middle),
          },
          {
            name: `score ${middle} or more`,
            values: similarity.filter((_, i) => (gold[i] as number) >= middle),
          },
        ]);
      }),
    )
    .join('\n');
}

interface StepRecord extends MetricsRecord {
  readonly loss: number;
  readonly seconds: number;
  readonly tokens: number;
  readonly peakRssBytes: number;
}

function stepsOf(metrics: readonly MetricsRecord[]): StepRecord[] {
  return metrics
    .filter(({ kind }) => kind === 'step')
    .map((record) => ({
      ...record,
      loss: numberOf(record['loss']),
      seconds: numberOf(record['seconds']),
      tokens: numberOf(record['tokens']),
      peakRssBytes: numberOf(record['peakRssBytes']),
    }));
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : NaN;
}

function facts({ record, metrics, stages, threads }: ReportPage): [string, string][] {
  const { machine } = record;
  const steps = stepsOf(metrics);
  const timing = stages.flatMap(({ name }): [string, string][] => {
    const own = steps.filter(({ stage }) => stage === name);
    if (own.length === 0) return [];
    const seconds = own.reduce((sum, step) => sum + step.seconds, 0);
    const tokens = own.reduce((sum, step) => sum + step.tokens, 0);
    const each = (seconds / own.length).toFixed(3);
    const text = `${own.length} steps in ${formatDuration(seconds)} (${each} s each), ${Math.round(tokens / seconds)} tokens/s`;
    return [[`stage ${name}`, text]];
  });
  const peak = steps.reduce((most, { peakRssBytes }) => Math.max(most, peakRssBytes || 0), 0);
  return [
    ['processor', `${machine.cpu}, ${machine.cores} cores, ${machine.platform}`],
    ['threads', threads === undefined ? 'as many as the machine has' : String(threads)],
    ['memory', `${gigabytes(machine.memoryBytes)} in the machine; peak of the process ${gigabytes(peak)}`],
    ['node', record.node],
    ...timing,
    ['started', record.startedAt],
    ...(record.finishedAt === undefined ? [] : [['finished', record.finishedAt] as [string, string]]),
    ...record.resumed.map(({ at, stage, step }): [string, string] => [
      'resumed',
      `${at}, ${stage} step ${step}`,
    ]),
    ['seed', String(record.seed)],
    ['texts', `${record.texts.kept} (${record.texts.decontaminated} of evaluation sets left out)`],
    ...record.inputs.map(({ path, bytes, sha256 }): [string, string] => [
      'input',
      `${path}, ${bytes} bytes, SHA-256 ${sha256}`,
    ]),
    ...Object.entries(record.dependencies),
  ];
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
