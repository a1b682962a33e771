import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  OptimizerState,
  StageRunner,
  StepResult,
  TrainingState,
} from '../../src/training/stage-runner.js';
import { hashKey } from '../../src/shared/random.js';

/**
 * A small real training problem with a stage's interface: AdamW on |w - target|^2 with noise that is a function of
 * (seed, step, index) alone, as dropout is. Float32 state, so that a lost bit shows.
 */
export function quadraticStage(options: {
  readonly size: number;
  readonly seed: number;
  /** Added to every parameter before training: what earlier stages found. */
  readonly start?: ReadonlyMap<string, Float32Array>;
  /** At this step (from 0) the loss is not a number. */
  readonly breaksAt?: number;
  /** At this step the gradients leave float16. */
  readonly overflowsAt?: number;
  readonly onStep?: (index: number) => void;
}): StageRunner {
  const parameters = new Map([
    ['w', new Float32Array(options.start?.get('w') ?? new Float32Array(options.size))],
  ]);
  let optimizer: OptimizerState = {
    step: 0,
    m: new Map([['w', new Float32Array(options.size)]]),
    v: new Map([['w', new Float32Array(options.size)]]),
  };
  const values = (tensors: ReadonlyMap<string, Float32Array>): Float32Array => tensors.get('w')!;

  const update = (index: number): StepResult => {
    const w = values(parameters);
    const m = values(optimizer.m);
    const v = values(optimizer.v);
    const t = optimizer.step + 1;
    let loss = 0;
    let squares = 0;
    for (let i = 0; i < w.length; i++) {
      const noise = hashKey(options.seed, index, i) / 2 ** 32 - 0.5;
      const difference = w[i]! - Math.sin(i) + noise;
      const gradient = 2 * difference;
      loss += difference ** 2;
      squares += gradient ** 2;
      m[i] = 0.9 * m[i]! + 0.1 * gradient;
      v[i] = 0.999 * v[i]! + 0.001 * gradient ** 2;
      w[i] = w[i]! - (0.05 * (m[i]! / (1 - 0.9 ** t))) / (Math.sqrt(v[i]! / (1 - 0.999 ** t)) + 1e-8);
    }
    optimizer = { ...optimizer, step: t };
    return { loss, tokens: 10, multipliedTokens: 12, gradientNorm: Math.sqrt(squares), learningRate: 0.05 };
  };

  return {
    state: () => ({ parameters, optimizer }),
    restore(state: TrainingState) {
      values(parameters).set(values(state.parameters));
      values(optimizer.m).set(values(state.optimizer.m));
      values(optimizer.v).set(values(state.optimizer.v));
      optimizer = { ...optimizer, step: state.optimizer.step };
    },
    step(index) {
      options.onStep?.(index);
      if (index === options.breaksAt)
        return Promise.resolve({
          loss: NaN,
          tokens: 10,
          multipliedTokens: 12,
          gradientNorm: 1,
          learningRate: 0.05,
        });
      if (index === options.overflowsAt)
        return Promise.resolve({
          loss: 1,
          tokens: 10,
          multipliedTokens: 12,
          gradientNorm: Infinity,
          learningRate: 0.05,
          lossScale: 65536,
          skipped: true,
        });
      return Promise.resolve(update(index));
    },
    // Bags of letters, each letter weighted by a parameter.
    encode: (texts) => {
      const data = new Float32Array(texts.length * options.size).fill(0.01);
      texts.forEach((text, row) => {
        for (const letter of text) {
          const i = row * options.size + ((letter.codePointAt(0) ?? 0) % options.size);
          data[i] = data[i]! + values(parameters)[i % options.size]! + 0.1;
        }
      });
      return Promise.resolve({ rows: texts.length, dimensions: options.size, data });
    },
    async save(folder) {
      const w = values(parameters);
      await writeFile(join(folder, 'weights.bin'), new Uint8Array(w.buffer, w.byteOffset, w.byteLength));
    },
    describe: () =>
      Promise.resolve({
        parameters: options.size,
        trainableParameters: options.size,
        flopsPerToken: 6 * options.size,
        savePolicy: 'all',
        weightCopies: 1,
        memoryEstimate: 12 * options.size,
        memoryParts: { weights: 12 * options.size },
        firstBatch: ['one text'],
      }),
    dispose: () => Promise.resolve(),
  };
}
