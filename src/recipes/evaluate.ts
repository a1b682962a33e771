import { baselineNames, baselines, evaluateBaseline } from '../evaluation/baselines.js';
import { evaluateTasks } from '../evaluation/evaluate.js';
import { writeMtebResults } from '../evaluation/mteb.js';
import { comparisonLine, resultTable, subsetLines, type ReportRow } from '../evaluation/report.js';
import type { TaskSelection } from '../evaluation/sts.js';
import { openModel, type ModelOptions } from './open-model.js';

export interface EvaluateModelOptions extends TaskSelection {
  readonly model: ModelOptions;
  /** A second model, compared by a paired bootstrap. */
  readonly compareWith?: ModelOptions;
  /** A decoder whose untrained embeddings stand in the table: causal mean, weighted mean, last, PromptEOL's last; bidirectional mean. */
  readonly untouched?: string;
  /** Bag of words and tf-idf in the table (default true). */
  readonly baselines?: boolean;
  /** Resamples of the bootstrap (default 1000; 0: no intervals). */
  readonly bootstrap?: number;
  /** Folder for result files in MTEB's layout. */
  readonly output?: string;
}

export interface EvaluationReport {
  /** The model, then what it is compared with, then the baselines. */
  readonly rows: readonly ReportRow[];
  /** The table, comparisons and subsets as text. */
  readonly text: string;
  /** Result files that were written. */
  readonly files: readonly string[];
}

/** Scores a model on sets of sentence pairs, beside its baselines. @throws UserError */
export async function evaluate(options: EvaluateModelOptions): Promise<EvaluationReport> {
  const bootstrap = { ...(options.bootstrap === undefined ? {} : { bootstrap: options.bootstrap }) };
  const selection: TaskSelection & { bootstrap?: number } = { ...pickSelection(options), ...bootstrap };
  const files: string[] = [];

  const row = async (model: ModelOptions, name?: string): Promise<ReportRow> => {
    const opened = await openModel(model);
    try {
      const results = await evaluateTasks({ ...selection, encode: opened.encode });
      if (options.output !== undefined && name === undefined)
        files.push(...(await writeMtebResults({ folder: options.output, model: opened.meta, results })));
      return { name: name ?? opened.meta.name, results };
    } finally {
      await opened.close();
    }
  };

  const own = await row(options.model);
  const other = options.compareWith === undefined ? undefined : await row(options.compareWith);
  const floor: ReportRow[] = [];
  if (options.baselines !== false) {
    for (const baseline of baselines)
      floor.push({ name: baselineNames[baseline], results: await evaluateBaseline(baseline, selection) });
  }
  for (const { name, ...model } of options.untouched === undefined ? [] : untouchedModels(options.untouched))
    floor.push(await row(model, name));

  const rows = [own, ...(other === undefined ? [] : [other]), ...floor];
  const lines = [
    resultTable(rows, bootstrap.bootstrap === 0 ? { intervals: false } : {}),
    ...own.results.filter(({ subsets }) => subsets.length > 0).map(subsetLines),
    ...(other === undefined ? [] : [comparisonLine(own, other, bootstrap)]),
  ];
  return { rows, files, text: lines.join('\n') };
}

function pickSelection({ tasks, folder, split, protocol, everyNthRow }: EvaluateModelOptions): TaskSelection {
  return { tasks, folder, split, protocol, ...(everyNthRow === undefined ? {} : { everyNthRow }) };
}

/** The untrained ways to embed with a decoder that every report shows. */
function untouchedModels(model: string): (ModelOptions & { readonly name: string })[] {
  return [
    { name: 'untouched, causal, mean', model, attention: 'causal', pooling: 'mean' },
    { name: 'untouched, causal, weighted mean', model, attention: 'causal', pooling: 'weightedMean' },
    { name: 'untouched, causal, last', model, attention: 'causal', pooling: 'last' },
    { name: 'untouched, PromptEOL, last', model, attention: 'causal', pooling: 'last', prompt: 'prompt-eol' },
    { name: 'untouched, bidirectional, mean', model, attention: 'bidirectional', pooling: 'mean' },
  ];
}
