import type { TuningConfig } from '../models/schema.js';
import type { LineageStep } from '../pooling/embedding-model.js';
import { tuningOf, type StageConfig } from './schema.js';
import type { FinishedStage } from './stage-runner.js';

/** The stages that made a model, the present one last. */
export function lineageOf(
  previous: readonly FinishedStage[],
  { name, stage }: { readonly name: string; readonly stage: StageConfig },
  tuning: TuningConfig,
): LineageStep[] {
  const stages = [
    ...previous.map((finished) => ({ name: finished.name, stage: finished.stage })),
    { name, stage },
  ];
  return stages.map((one) => ({
    stage: one.name,
    objective: one.stage.objective,
    steps: one.stage.maxSteps,
    tuning: tuningOf(one.stage, tuning).type,
  }));
}
