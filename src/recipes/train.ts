import { rm } from 'node:fs/promises';
import { exists, finishReplacements } from '../shared/files.js';
import { createLogger } from '../shared/logger.js';
import { createProgress, type Progress } from '../shared/progress.js';
import { latestCheckpoint, readCheckpoint } from '../training/checkpoint.js';
import { loadTasks } from '../evaluation/sts.js';
import { cutMetrics } from './metrics.js';
import { writeReportPage } from './report/write.js';
import { keptRows, runReport, type KeptRows } from './run-evaluation.js';
import {
  checkNewRunFolder,
  createRunFolder,
  resumeRunFolder,
  type RunFolder,
  type RunPaths,
} from './run-folder.js';
import {
  checkSameInputs,
  newRunRecord,
  readRunRecord,
  writeRunRecord,
  type RunRecord,
} from './run-record.js';
import { runStages } from './run-stages.js';
import type { RunConfig } from './schema.js';
import { openTrainingParts } from './open-training-parts.js';
import type { OpenTrainingParts, TrainingParts } from './training-parts.js';

export interface TrainOptions {
  /** Replace an older run folder of the same name. */
  readonly overwrite?: boolean;
  /** Aborted: the run ends after the step under way, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** Default: a live line on standard error where that is a terminal, log lines where not. */
  readonly progress?: Progress;
  /** What the run is composed of. Default: the compiled engine's parts. */
  readonly openParts?: OpenTrainingParts;
}

export interface TrainResult {
  readonly status: 'finished' | 'interrupted' | 'already finished';
  readonly folder: string;
  /** Where an interrupted run stands. */
  readonly stage: string;
  readonly step: number;
  /** The table at the end of a finished run. */
  readonly report?: string;
}

/**
 * Runs a configuration from its beginning: stages, evaluations from step 0 on, best/, last/, results/, embedder/.
 * @throws UserError before anything is written where model, data or evaluation sets cannot be used or the run folder exists.
 */
export async function train(config: RunConfig, options: TrainOptions = {}): Promise<TrainResult> {
  await checkNewRunFolder(config.output, options.overwrite === true);
  return withParts(config, options, async (parts) => {
    // What the first stage finds wrong is found before the folder exists.
    const withFirst = await makeFirstStage(parts, config);
    const run = await createRunFolder(config, { overwrite: options.overwrite === true });
    const record = newRunRecord({ seed: config.train.seed, ...parts });
    return runToEnd({ config, run, parts: withFirst, record, options });
  });
}

/** The same parts with the first stage made: handed out once, so that nobody holds its optimizer and gradients when it is done. */
async function makeFirstStage(parts: TrainingParts, config: RunConfig): Promise<TrainingParts> {
  const [name, stage] = Object.entries(config.stages)[0] ?? [];
  let made =
    name === undefined || stage === undefined
      ? undefined
      : await parts.createStage({ name, stage, previous: [] });
  return {
    ...parts,
    createStage: (options) => {
      const first = made;
      made = undefined;
      return first === undefined ? parts.createStage(options) : Promise.resolve(first);
    },
  };
}

/**
 * Goes on with a run that was stopped, from its last checkpoint, with the configuration that it was started with:
 * the final weights are those of the undisturbed run, bit for bit.
 */
export async function resume(folder: string, options: TrainOptions = {}): Promise<TrainResult> {
  const progress = options.progress ?? defaultProgress(10);
  const { run, config } = await resumeRunFolder(folder);
  try {
    await finishReplacements(folder);
    const old = await readRunRecord(run.paths.record);
    if (old?.status === 'finished') {
      progress.message(`${folder} is finished: there is nothing to resume`);
      const last = old.stages.at(-1);
      return { status: 'already finished', folder, stage: last?.name ?? '', step: last?.steps ?? 0 };
    }
    return await withParts(config, options, async (parts) => {
      if (old !== undefined) checkSameInputs(old.inputs, parts.inputs);
      const checkpoint = await prepareResume(run.paths, config, progress);
      const record = old ?? newRunRecord({ seed: config.train.seed, ...parts });
      const { stage, step } = checkpoint ?? { stage: Object.keys(config.stages)[0] ?? '', step: 0 };
      const resumed = [...record.resumed, { at: new Date().toISOString(), stage, step }];
      return runToEnd({
        config,
        run,
        parts,
        record: { ...record, stages: [], resumed },
        options: { ...options, progress },
        ...(checkpoint === undefined ? {} : { checkpoint }),
      });
    });
  } finally {
    await run.close();
  }
}

async function withParts(
  config: RunConfig,
  options: TrainOptions,
  use: (parts: TrainingParts) => Promise<TrainResult>,
): Promise<TrainResult> {
  await loadTasks(config.evaluate);
  const parts = await (options.openParts ?? openTrainingParts)(config);
  try {
    return await use(parts);
  } finally {
    await parts.close();
  }
}

/** Finds where to go on and takes back what was written after it. */
async function prepareResume(paths: RunPaths, config: RunConfig, progress: Progress) {
  const stages = Object.keys(config.stages);
  const place = await latestCheckpoint(paths.checkpoints, stages);
  await cutMetrics(paths.metrics, stages, place);
  if (place === undefined) {
    // Nothing of the first attempt may pass for a result of the second.
    for (const path of [paths.best, paths.last, paths.results])
      await rm(path, { recursive: true, force: true });
    progress.message(`resuming ${paths.folder}: there is no checkpoint, so it starts at step 0`);
    return undefined;
  }
  progress.message(`resuming ${paths.folder}: stage ${place.stage}, step ${place.step}`);
  return readCheckpoint(place.path);
}

interface RunToEndOptions {
  readonly config: RunConfig;
  readonly run: RunFolder;
  readonly parts: TrainingParts;
  readonly record: RunRecord;
  readonly options: TrainOptions;
  readonly checkpoint?: Awaited<ReturnType<typeof readCheckpoint>>;
}

async function runToEnd({
  config,
  run,
  parts,
  options,
  checkpoint,
  ...rest
}: RunToEndOptions): Promise<TrainResult> {
  const { paths } = run;
  const progress = options.progress ?? defaultProgress(config.train.logEverySteps);
  let record = rest.record;
  const update = async (change: Partial<RunRecord>): Promise<void> => {
    record = { ...record, ...change };
    await writeRunRecord(paths.record, record);
  };
  const writeReport = async (rows?: KeptRows): Promise<void> =>
    writeReportPage({ config, paths, record, rows: rows ?? (await keptRows(paths)) });
  try {
    await update({ status: 'running' });
    const { status, stage, step } = await runStages({
      config,
      paths,
      parts,
      progress,
      ...(checkpoint === undefined ? {} : { checkpoint }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      onEvaluated: () => writeReport(),
      onStageDone: (name, { objective, maxSteps }) =>
        update({ stages: [...record.stages, { name, objective, steps: maxSteps }] }),
    });
    if (status === 'interrupted') {
      await update({ status });
      await writeReport();
      return { status, folder: paths.folder, stage, step };
    }
    progress.end();
    const report = await runReport(config, paths);
    if (config.export.files.length > 0) {
      const source = (await exists(paths.best)) ? paths.best : paths.last;
      progress.message(await parts.exportEmbedder(source, paths.embedder, report.markdown));
    }
    // The report first: a run that is finished has its whole report.
    const finished = { status, finishedAt: new Date().toISOString() };
    record = { ...record, ...finished };
    await writeReport(report.rows);
    await update(finished);
    return { status, folder: paths.folder, stage, step, report: report.text };
  } finally {
    progress.end();
    await run.close();
  }
}

function defaultProgress(logEverySteps: number): Progress {
  return createProgress({ logger: createLogger(), stream: process.stderr, logEverySteps });
}
