import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { AdamW, globalNorm } from '../../src/training/optimizer.js';
import { relativeDifference } from './tiny.js';

type Named = Readonly<Record<string, readonly number[]>>;

interface Golden {
  readonly cases: readonly {
    readonly learningRates: readonly number[];
    readonly betas: readonly [number, number];
    readonly epsilon: number;
    readonly weightDecay: number;
    readonly clipNorm: number | null;
    readonly start: Named;
    readonly gradients: readonly Named[];
    readonly norms: readonly number[];
    readonly after: readonly Named[];
  }[];
}

const { cases } = JSON.parse(
  await readFile(new URL('../golden/optimizer/golden.json', import.meta.url), 'utf8'),
) as Golden;

const arrays = (named: Named): Map<string, Float32Array> =>
  new Map(Object.entries(named).map(([name, values]) => [name, Float32Array.from(values)]));

describe('AdamW', () => {
  it.each(cases)(
    'torch.optim.AdamW and clip_grad_norm_: weight decay $weightDecay, clip $clipNorm',
    (golden) => {
      const parameters = arrays(golden.start);
      const optimizer = new AdamW(parameters, new Set(['matrix']), golden);
      for (const [step, learningRate] of golden.learningRates.entries()) {
        const gradients = arrays(golden.gradients[step]!);
        const norm = globalNorm(gradients.values());
        expect(norm).toBeCloseTo(golden.norms[step]!, 5);
        const scale = golden.clipNorm === null ? 1 : Math.min(1, golden.clipNorm / (norm + 1e-6));
        optimizer.update(gradients, { learningRate, scale });
        for (const [name, values] of parameters)
          expect(
            relativeDifference(values, golden.after[step]![name]!),
            `${name} after step ${step}`,
          ).toBeLessThan(1e-6);
      }
    },
  );

  it('goes on from a saved state with the same bits', () => {
    const golden = cases[1]!;
    const run = (interruptAt: number): Map<string, Float32Array> => {
      let parameters = arrays(golden.start);
      let optimizer = new AdamW(parameters, new Set(['matrix']), golden);
      for (const [step, learningRate] of golden.learningRates.entries()) {
        if (step === interruptAt) {
          const saved = structuredClone(optimizer.state());
          parameters = new Map([...parameters].map(([name, values]) => [name, values.slice()]));
          optimizer = new AdamW(parameters, new Set(['matrix']), golden);
          optimizer.restore(saved);
        }
        optimizer.update(arrays(golden.gradients[step]!), { learningRate, scale: 0.5 });
      }
      return parameters;
    };
    const undisturbed = run(-1);
    for (const step of [1, 2, 3]) expect(run(step)).toEqual(undisturbed);
  });

  it('refuses moments that are missing or of another length', () => {
    const optimizer = new AdamW(arrays({ p: [1, 2] }), new Set(), cases[0]!);
    const whole = arrays({ p: [0, 0] });
    for (const broken of [arrays({}), arrays({ p: [0] }), arrays({ p: [0, 0, 0] })]) {
      expect(() => optimizer.restore({ step: 1, m: broken, v: whole })).toThrow(/AdamW's m of p: got /);
      expect(() => optimizer.restore({ step: 1, m: whole, v: broken })).toThrow(/AdamW's v of p: got /);
    }
  });

  it('leaves a parameter without a gradient alone, decay included', () => {
    const parameters = arrays({ used: [1, 2], unused: [3, 4] });
    const optimizer = new AdamW(parameters, new Set(['used', 'unused']), {
      betas: [0.9, 0.999],
      epsilon: 1e-8,
      weightDecay: 0.1,
    });
    optimizer.update(arrays({ used: [1, 1] }), { learningRate: 0.1, scale: 1 });
    expect(parameters.get('unused')).toEqual(Float32Array.of(3, 4));
    expect(parameters.get('used')![0]).not.toBe(1);
  });
});
