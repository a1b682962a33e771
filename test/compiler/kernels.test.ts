import { setBackend } from '@tensorflow/tfjs';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { recordKernels } from '../../src/compiler/kernels/index.js';
import { elementwiseCases } from './elementwise-cases.js';
import { checkCase } from './kernel-case.js';
import { ownCases } from './own-cases.js';
import { reduceCases } from './reduce-cases.js';
import { shapeCases } from './shape-cases.js';

const cases = { ...elementwiseCases, ...reduceCases, ...shapeCases, ...ownCases };
const RUNS = 6;

beforeAll(() => setBackend('cpu'));

describe('traced kernels give what eager tfjs gives, forward and backward', () => {
  it('has a case for every kernel', () => {
    expect(Object.keys(cases).sort()).toEqual(Object.keys(recordKernels).sort());
  });

  it.each(Object.keys(cases))('%s', async (kernel) => {
    await fc.assert(
      fc.asyncProperty(cases[kernel]!, (instance) => checkCase(kernel, instance)),
      { seed: 20261123, numRuns: Number(process.env['KERNEL_RUNS'] ?? RUNS) },
    );
  });
});
