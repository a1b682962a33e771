import { chooseRuntime } from '../compiler/runtime.js';
import { baselineNames, baselines, evaluateBaseline } from '../evaluation/baselines.js';
import { comparable } from '../embedder/quantise.js';
import type { Encode } from '../evaluation/encoder.js';
import { evaluateTasks } from '../evaluation/evaluate.js';
import { writeMtebResults } from '../evaluation/mteb.js';
import { comparisonLine, resultTable, subsetLines, type ReportRow } from '../evaluation/report.js';
import type { TaskSelection } from '../evaluation/sts.js';
import { openModel, type ModelOptions } from './open-model.js';
import { evaluateInputEmbeddings } from './soft-cosine.js';
import { openQuantiser, type QuantiseOptions } from './quantiser.js';
import { forEachUntouched } from './untouched.js';

export interface EvaluateModelOptions extends TaskSelection, QuantiseOptions {
  readonly model: ModelOptions;
  /** A second model, compared by a paired bootstrap. */
  readonly compareWith?: ModelOptions;
  /** A decoder whose untrained embeddings stand in the table: causal mean, weighted mean, last, PromptEOL's last; bidirectional mean. */
  readonly untouched?: string;
  /** The soft cosine of the model's input embeddings in the table. */
  readonly softCosine?: boolean;
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

  const quantiser = await openQuantiser(options);
  const { precision } = quantiser;
  const row = async (model: ModelOptions): Promise<ReportRow> => {
    const opened = await openModel(model);
    try {
      const encode: Encode =
        precision === 'float32'
          ? opened.encode
          : async (texts, promptName) =>
              comparable(quantiser.quantise(await opened.encode(texts, promptName)), precision);
      const results = await evaluateTasks({ ...selection, encode, prompts: opened.taskPrompts });
      // Each precision has a name and a revision of its own: no result is taken for another.
      const ending = precision === 'float32' ? '' : `-${precision}`;
      const { name, revision } = opened.meta;
      const meta = { ...opened.meta, revision: `${revision}${ending}` };
      if (options.output !== undefined)
        files.push(...(await writeMtebResults({ folder: options.output, model: meta, results })));
      return { name: `${name}${ending}`, results };
    } finally {
      await opened.close();
    }
  };

  const own = await row(options.model);
  const other = options.compareWith === undefined ? undefined : await row(options.compareWith);
  const floor: ReportRow[] = [];
  if (options.softCosine === true)
    floor.push({
      name: 'soft cosine of its input embeddings',
      results: await evaluateInputEmbeddings(options.model.model, selection),
    });
  if (options.baselines !== false) {
    for (const baseline of baselines)
      floor.push({ name: baselineNames[baseline], results: await evaluateBaseline(baseline, selection) });
  }
  if (options.untouched !== undefined)
    await forEachUntouched(
      options.untouched,
      await chooseRuntime(options.model),
      async ({ name, encode }) => {
        floor.push({ name, results: await evaluateTasks({ ...selection, encode }) });
      },
    );

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
