import { writeFolderAtomic } from '../shared/files.js';
import { collectGarbage } from '../shared/garbage.js';
import type { Progress } from '../shared/progress.js';
import {
  pruneCheckpoints,
  readFinal,
  writeCheckpoint,
  writeFinal,
  type Best,
  type SavedCheckpoint,
} from '../training/checkpoint.js';
import { fit } from '../training/fit.js';
import { tuningOf, type StageConfig } from '../training/schema.js';
import type { FinishedStage, StageRunner, StepResult } from '../training/stage-runner.js';
import { appendMetrics } from './metrics.js';
import { evaluateRun, keepEvaluation } from './run-evaluation.js';
import type { RunPaths } from './run-folder.js';
import type { RunConfig } from './schema.js';
import type { TrainingParts } from './training-parts.js';

export interface RunStagesOptions {
  readonly config: RunConfig;
  readonly paths: RunPaths;
  readonly parts: TrainingParts;
  readonly progress: Progress;
  /** Where to go on. */
  readonly checkpoint?: SavedCheckpoint;
  readonly signal?: AbortSignal;
  /** After every evaluation, when all of it is kept. */
  readonly onEvaluated: () => Promise<void>;
  readonly onStageDone: (name: string, stage: StageConfig) => Promise<void>;
}

/** Where the stages ended; `stage` and `step` say where an interrupted run stands. */
export interface StagesResult {
  readonly status: 'finished' | 'interrupted';
  readonly stage: string;
  readonly step: number;
  readonly best: Best | null;
}

/** Runs the stages that are not done yet, in their order. Every stage begins with what the ones before it learned merged into the model. */
export async function runStages(options: RunStagesOptions): Promise<StagesResult> {
  const { config, paths, checkpoint } = options;
  const previous: FinishedStage[] = [];
  let best = checkpoint?.best ?? null;
  let place = { stage: '', step: 0 };

  for (const [name, stage] of Object.entries(config.stages)) {
    const finished = await readFinal(paths.checkpoints, name);
    if (finished === undefined) {
      const from = checkpoint?.stage === name ? checkpoint : undefined;
      const result = await makeAndRunStage({ ...options, name, stage, from, best, previous });
      collectGarbage();
      ({ best } = result);
      place = { stage: name, step: result.step };
      if (result.step < stage.maxSteps) return { status: 'interrupted', ...place, best };
      previous.push({ name, stage, parameters: result.parameters });
    } else {
      previous.push({ name, stage, parameters: finished });
      place = { stage: name, step: stage.maxSteps };
    }
    await options.onStageDone(name, stage);
  }
  return { status: 'finished', ...place, best };
}

interface MakeStageOptions extends RunStagesOptions {
  readonly name: string;
  readonly stage: StageConfig;
  readonly from: SavedCheckpoint | undefined;
  readonly best: Best | null;
  readonly previous: readonly FinishedStage[];
}

interface StageResult {
  readonly step: number;
  readonly best: Best | null;
}

/** A function of its own: what a stage holds (optimizer, gradients) is nobody's when the next one is made. */
async function makeAndRunStage(
  options: MakeStageOptions,
): Promise<StageResult & Pick<FinishedStage, 'parameters'>> {
  const { name, stage, previous } = options;
  const runner = await options.parts.createStage({ name, stage, previous });
  if (runner.warning !== undefined) options.progress.message(`stage ${name}: ${runner.warning}`);
  try {
    const result = await runStage({ ...options, runner });
    const { parameters } = runner.state();
    // Full tuning trains the decoder's own weights: a copy would be a second decoder, and nobody reads it.
    const full = tuningOf(stage, options.config.tuning).type === 'full';
    return { ...result, parameters: full ? parameters : copied(parameters) };
  } finally {
    await runner.dispose();
  }
}

async function runStage(options: MakeStageOptions & { readonly runner: StageRunner }): Promise<StageResult> {
  const { config, paths, progress, name, stage, runner, from } = options;
  const stages = Object.keys(config.stages);
  let best = options.best;
  let saved = from?.step ?? -1;
  if (from !== undefined) runner.restore(from.takeState());

  const evaluate = async (step: number): Promise<void> => {
    const evaluation = await evaluateRun(config, (texts, promptName) => runner.encode(texts, promptName));
    const scores = Object.fromEntries(evaluation.results.map(({ task, mainScore }) => [task, mainScore]));
    appendMetrics(paths.metrics, { kind: 'evaluation', stage: name, step, score: evaluation.score, scores });
    const isBest = step > 0 && (best === null || evaluation.score > best.score);
    progress.message(
      `${name} step ${step}: ${describeScores(scores, config)}${isBest ? ', the best so far' : ''}`,
    );
    const revision = `${name}-step-${String(step).padStart(6, '0')}`;
    if (step === 0) await keepEvaluation(paths, 'before', evaluation, revision);
    if (isBest) {
      await writeFolderAtomic(paths.best, (folder) => runner.save(folder));
      await keepEvaluation(paths, 'best', evaluation, revision);
      best = { stage: name, step, score: evaluation.score };
    }
    await options.onEvaluated();
  };
  const save = async (step: number): Promise<void> => {
    if (step === saved) return;
    const state = runner.state();
    await writeCheckpoint(paths.checkpoints, { stage: name, step, seed: config.train.seed, best, state });
    await pruneCheckpoints(paths.checkpoints, stages);
    saved = step;
  };

  if (options.previous.length === 0 && from === undefined) await evaluate(0);
  let stepStarted = performance.now();
  const step = await fit(
    (index) => {
      stepStarted = performance.now();
      return runner.step(index);
    },
    {
      name,
      from: from?.step ?? 0,
      to: stage.maxSteps,
      onStep: (completed, result) => {
        const seconds = (performance.now() - stepStarted) / 1000;
        appendMetrics(paths.metrics, {
          kind: 'step',
          stage: name,
          step: completed,
          ...stepMetrics(result, seconds),
        });
        if (result.skipped === true)
          progress.message(
            `${name} step ${completed} was skipped: its gradients left float16 at a loss scale of ${result.lossScale}`,
          );
        progress.update({
          stage: name,
          step: completed,
          steps: stage.maxSteps,
          loss: result.loss,
          tokens: result.tokens,
        });
      },
      // Saved last: a resumed run repeats nothing that the checkpoint's step has already written.
      hooks: [
        { every: config.evaluate.everySteps, run: evaluate },
        { every: config.train.checkpointEverySteps, run: save },
      ],
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    },
  );
  await save(step);
  if (step === stage.maxSteps) {
    await writeFolderAtomic(paths.last, (folder) => runner.save(folder));
    await writeFinal(paths.checkpoints, name, runner.state().parameters);
  }
  return { step, best };
}

function stepMetrics(result: StepResult, seconds: number): Record<string, unknown> {
  return {
    ...result,
    seconds,
    tokensPerSecond: result.tokens / seconds,
    // Kilobytes, whatever the system.
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}

function describeScores(scores: Readonly<Record<string, number>>, config: RunConfig): string {
  const { split, protocol } = config.evaluate;
  const list = Object.entries(scores).map(([task, score]) => `${task} ${(100 * score).toFixed(2)}`);
  return `${list.join(', ')} (cosine Spearman x 100, ${split}, ${protocol})`;
}

function copied(parameters: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> {
  return new Map([...parameters].map(([name, values]) => [name, values.slice()]));
}
