import { writeFile } from 'node:fs/promises';
import { loadConfig } from '../../src/config/load.js';
import { openTrainingParts } from '../../src/recipes/open-training-parts.js';
import { runSchema } from '../../src/recipes/schema.js';
import { train } from '../../src/recipes/train.js';
import type { OpenTrainingParts } from '../../src/recipes/training-parts.js';
import type { StageDescription } from '../../src/training/stage-runner.js';
import { ownPeakRssGb } from '../processes.js';

/** What a run was expected to take, and took. Gigabytes are 10^9 bytes. */
export interface MemoryReport {
  /** The stage with the largest estimate. */
  readonly estimateGb: number;
  readonly parts: Readonly<Record<string, number>>;
  readonly savePolicy: string;
  readonly weightCopies: number;
  readonly warning: string | undefined;
  readonly peakRssGb: number;
  /** The peak of each part of the run. */
  readonly phases: Readonly<Record<string, number>>;
  readonly secondsOfSteps: readonly number[];
}

/** Runs a configuration as `lmvec train` does, and watches the process's memory part by part. */
export async function measureRun(path: string): Promise<MemoryReport> {
  const { config } = await loadConfig(path, [], runSchema);
  const phases: Record<string, number> = {};
  const take = async (phase: string): Promise<void> => {
    phases[phase] = Math.max(phases[phase] ?? 0, await ownPeakRssGb());
    await resetPeak();
  };
  let phase = 'start';
  const watched = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    await take(phase);
    phase = name;
    try {
      return await work();
    } finally {
      await take(name);
      report(name);
      phase = `after ${name}`;
    }
  };
  const described: (StageDescription & { readonly warning: string | undefined })[] = [];
  const secondsOfSteps: number[] = [];
  const openParts: OpenTrainingParts = async (given) => {
    const parts = await watched('open', () => openTrainingParts(given));
    return {
      ...parts,
      createStage: async (options) => {
        const runner = await watched('plan', () => parts.createStage(options));
        described.push({ ...(await runner.describe()), warning: runner.warning });
        return {
          ...runner,
          encode: (texts, prompt) => watched('evaluation', () => runner.encode(texts, prompt)),
          step: (index) =>
            watched('step', async () => {
              const start = performance.now();
              const result = await runner.step(index);
              secondsOfSteps.push((performance.now() - start) / 1000);
              return result;
            }),
          save: (folder) => watched('save', () => runner.save(folder)),
        };
      },
      exportEmbedder: (...options) => watched('export', () => parts.exportEmbedder(...options)),
    };
  };
  await train(config, { overwrite: true, openParts });
  await take(phase);
  const largest = described.toSorted((a, b) => b.memoryEstimate - a.memoryEstimate)[0];
  if (largest === undefined) throw new Error('the run had no stage');
  return {
    estimateGb: largest.memoryEstimate / 1e9,
    parts: largest.memoryParts,
    savePolicy: largest.savePolicy,
    weightCopies: largest.weightCopies,
    warning: largest.warning,
    peakRssGb: Math.max(...Object.values(phases)),
    phases,
    secondsOfSteps,
  };
}

/** From here on the process's peak counts anew, where the system lets it. */
async function resetPeak(): Promise<void> {
  await writeFile('/proc/self/clear_refs', '5').catch(() => undefined);
}

function report(phase: string): void {
  const parts = Object.entries(process.memoryUsage());
  console.error(
    `${phase}: ${parts.map(([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(0)}`).join(', ')} MB`,
  );
}
