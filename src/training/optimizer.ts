import { userError } from '../shared/errors.js';
import type { OptimizerState } from './stage-runner.js';

export interface AdamWOptions {
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  /** Decoupled: applied to the parameter, not to the gradient. Vectors (norms, biases) are left alone. */
  readonly weightDecay: number;
}

/**
 * AdamW over named arrays, in place. Loshchilov & Hutter 2019, algorithm 2; the numbers of torch.optim.AdamW:
 * p -= lr * weightDecay * p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon).
 */
export class AdamW {
  private readonly m = new Map<string, Float32Array>();
  private readonly v = new Map<string, Float32Array>();
  private updates = 0;

  constructor(
    private readonly parameters: ReadonlyMap<string, Float32Array>,
    /** Names of parameters that decay. */
    private readonly decaying: ReadonlySet<string>,
    private readonly options: AdamWOptions,
  ) {
    for (const [name, values] of parameters) {
      this.m.set(name, new Float32Array(values.length));
      this.v.set(name, new Float32Array(values.length));
    }
  }

  /** One update; gradients are multiplied by `scale` (accumulation, clipping). A parameter without a gradient is left alone. */
  update(
    gradients: ReadonlyMap<string, Float32Array>,
    { learningRate, scale }: { readonly learningRate: number; readonly scale: number },
  ): void {
    this.updates += 1;
    const [beta1, beta2] = this.options.betas;
    const correction1 = 1 - beta1 ** this.updates;
    const correction2 = 1 - beta2 ** this.updates;
    const { epsilon, weightDecay } = this.options;
    const rate = learningRate / correction1;
    const root = 1 / Math.sqrt(correction2);
    for (const [name, p] of this.parameters) {
      const g = gradients.get(name);
      if (g === undefined) continue;
      const m = this.m.get(name) as Float32Array;
      const v = this.v.get(name) as Float32Array;
      const shrink = this.decaying.has(name) ? 1 - learningRate * weightDecay : 1;
      for (let i = 0; i < p.length; i++) {
        const gradient = (g[i] as number) * scale;
        const first = beta1 * (m[i] as number) + (1 - beta1) * gradient;
        const second = beta2 * (v[i] as number) + (1 - beta2) * gradient * gradient;
        m[i] = first;
        v[i] = second;
        p[i] = (p[i] as number) * shrink - (rate * first) / (Math.sqrt(second) * root + epsilon);
      }
    }
  }

  state(): OptimizerState {
    return { step: this.updates, m: this.m, v: this.v };
  }

  /** @throws UserError where a moment is missing, or of another length than its parameter */
  restore(state: OptimizerState): void {
    this.updates = state.step;
    for (const moment of ['m', 'v'] as const)
      for (const [name, values] of this[moment]) {
        const saved = state[moment].get(name);
        if (saved?.length !== values.length)
          throw userError({
            what: `the checkpoint does not fit the configuration at AdamW's ${moment} of ${name}`,
            got: `${saved?.length ?? 'no'} values`,
            expected: `${values.length}`,
          });
        values.set(saved);
      }
  }
}

/** Euclidean norm over all arrays, summed in double precision. */
export function globalNorm(gradients: Iterable<Float32Array>): number {
  let sum = 0;
  for (const values of gradients) {
    for (let i = 0; i < values.length; i++) sum += (values[i] as number) * (values[i] as number);
  }
  return Math.sqrt(sum);
}
