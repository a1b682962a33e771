import { internalError } from '../../shared/errors.js';
import type { Adapter } from './peft.js';

type Joined = Pick<Adapter, 'rank' | 'alpha' | 'targetModules' | 'tensors'>;

/**
 * One adapter that adds what several add one after the other: s1 B1 A1 + s2 B2 A2 = [s1 B1, s2 B2] [A1; A2], of the ranks' sum. A matrix that
 * one of them leaves alone has zeros in its place: every matrix has the one rank that plain LoRA knows.
 */
export function joinAdapters(adapters: readonly Adapter[]): Joined {
  const [only] = adapters;
  if (adapters.length === 1 && only !== undefined) return only;
  const rank = adapters.reduce((sum, adapter) => sum + adapter.rank, 0);
  const stems = new Set(
    adapters.flatMap(({ tensors }) =>
      [...tensors.keys()].map((name) => name.replace(/\.lora_[AB]\.weight$/, '')),
    ),
  );
  const tensors = new Map<string, Float32Array>();
  for (const stem of stems) {
    const [a, b] = [`${stem}.lora_A.weight`, `${stem}.lora_B.weight`];
    const has = adapters.find((adapter) => adapter.tensors.has(a));
    const columns = (has?.tensors.get(a)?.length ?? NaN) / (has?.rank ?? NaN);
    const rows = (has?.tensors.get(b)?.length ?? NaN) / (has?.rank ?? NaN);
    if (!Number.isSafeInteger(columns * rows)) throw internalError(`the adapter of ${stem} is not whole`);
    const joinedA = new Float32Array(rank * columns);
    const joinedB = new Float32Array(rows * rank);
    let first = 0;
    for (const adapter of adapters) {
      const [ownA, ownB] = [adapter.tensors.get(a), adapter.tensors.get(b)];
      if (ownA !== undefined && ownB !== undefined) {
        joinedA.set(ownA, first * columns);
        const scale = adapter.alpha / adapter.rank;
        for (let row = 0; row < rows; row++)
          for (let r = 0; r < adapter.rank; r++)
            joinedB[row * rank + first + r] = scale * (ownB[row * adapter.rank + r] as number);
      }
      first += adapter.rank;
    }
    tensors.set(a, joinedA).set(b, joinedB);
  }
  const targetModules = [...new Set(adapters.flatMap((adapter) => adapter.targetModules))].sort();
  return { rank, alpha: rank, targetModules, tensors };
}
