import type { Argv, InferredOptionTypes, Options } from 'yargs';
import { precisions } from '../../src/embedder/quantise.js';
import type { QuantiseOptions } from '../../src/recipes/quantiser.js';

/** Options of the commands that make vectors. */
const options = {
  precision: {
    choices: precisions,
    requiresArg: true,
    describe: "numbers of a vector, in sentence-transformers' words and layouts (default float32)",
  },
  ranges: {
    type: 'string',
    requiresArg: true,
    describe: 'for int8 and uint8: an .npy file of lmvec calibrate --ranges',
  },
} as const satisfies Record<string, Options>;

type PrecisionArguments = InferredOptionTypes<typeof options>;

export function withPrecisionOptions<T>(yargs: Argv<T>): Argv<T & PrecisionArguments> {
  return yargs.options(options) as Argv<T & PrecisionArguments>;
}

export function precisionOptions({ precision, ranges }: PrecisionArguments): QuantiseOptions {
  return {
    ...(precision === undefined ? {} : { precision }),
    ...(ranges === undefined ? {} : { ranges }),
  };
}
