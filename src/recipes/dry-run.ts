import { loadTasks } from '../evaluation/sts.js';
import type { StageDescription } from '../training/stage-runner.js';
import type { RunConfig } from './schema.js';
import { openTrainingParts } from './open-training-parts.js';
import type { OpenTrainingParts } from './training-parts.js';

/** What a run would do, without a step: parameter counts, trainable share, memory estimate, first batch decoded. Writes nothing. */
export async function describeRun(
  config: RunConfig,
  openParts: OpenTrainingParts = openTrainingParts,
): Promise<string> {
  await loadTasks(config.evaluate);
  const parts = await openParts(config);
  try {
    const lines = [
      `texts: ${count(parts.texts.kept)} (${count(parts.texts.decontaminated)} of evaluation sets left out)`,
      ...Object.entries(parts.examples ?? {}).map(
        ([name, { kept, decontaminated }]) =>
          `examples of ${name}: ${count(kept)} (${count(decontaminated)} with texts of evaluation sets left out)`,
      ),
    ];
    for (const [name, stage] of Object.entries(config.stages)) {
      const runner = await parts.createStage({ name, stage, previous: [] });
      try {
        lines.push('', ...stageLines(name, stage.objective, await runner.describe()));
        if (runner.warning !== undefined) lines.push(`  warning: ${runner.warning}`);
      } finally {
        await runner.dispose();
      }
    }
    return lines.join('\n');
  } finally {
    await parts.close();
  }
}

function stageLines(name: string, objective: string, description: StageDescription): string[] {
  const { parameters, trainableParameters, flopsPerToken, firstBatch } = description;
  const { memoryEstimate, memoryParts, savePolicy, weightCopies } = description;
  const { computePrecision: half } = description;
  const share = ((100 * trainableParameters) / parameters).toFixed(2);
  return [
    `stage ${name} (${objective})`,
    `  parameters: ${count(parameters)}, of which trained: ${count(trainableParameters)} (${share} %)`,
    `  floating-point operations per token: ${flopsPerToken.toExponential(2)}${half === undefined ? '' : `, matrix products in ${half}`}`,
    `  memory estimate: ${(memoryEstimate / 1e9).toFixed(2)} GB with save policy ${savePolicy}${weightCopies === 1 ? '' : `, the weights ${weightCopies} times`}`,
    `    ${Object.entries(memoryParts)
      .map(([part, bytes]) => `${part} ${(bytes / 1e9).toFixed(2)}`)
      .join(', ')}`,
    '  first batch:',
    ...firstBatch.map((line) => `    ${line}`),
  ];
}

function count(value: number): string {
  return value.toLocaleString('en');
}
