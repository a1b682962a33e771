import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What a process holds after all garbage is collected, in bytes. */
export interface MemorySample {
  /** Rounds or steps that are done. */
  readonly at: number;
  readonly resident: number;
  /** JavaScript objects and the memory of typed arrays. */
  readonly held: number;
}

/** Collects garbage and looks. */
export function sampleMemory(at: number): MemorySample {
  collectGarbage();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { at, resident: rss, held: heapUsed + external };
}

let collect: (() => void) | undefined;

function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
  collect();
}

/** A sample after each `every`-th of `rounds` rounds. */
export async function sampleRounds(
  round: (index: number) => Promise<void>,
  { rounds, every }: { readonly rounds: number; readonly every: number },
): Promise<MemorySample[]> {
  const samples: MemorySample[] = [];
  for (let index = 0; index < rounds; index++) {
    await round(index);
    if ((index + 1) % every === 0) samples.push(sampleMemory(index + 1));
  }
  return samples;
}

/** Bytes by which the samples grow each round: slope of the line of least squares. */
export function growth(samples: readonly MemorySample[], of: 'resident' | 'held'): number {
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const x = samples.map(({ at }) => at);
  const y = samples.map((sample) => sample[of]);
  const [middleX, middleY] = [mean(x), mean(y)];
  const above = x.reduce((sum, value, i) => sum + (value - middleX) * ((y[i] as number) - middleY), 0);
  const below = x.reduce((sum, value) => sum + (value - middleX) ** 2, 0);
  return above / below;
}
