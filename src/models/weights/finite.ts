import { userError } from '../../shared/errors.js';

/** @throws UserError where a weight is NaN or infinite: every result would be NaN, and nobody would know why. */
export function checkFinite(data: Float32Array, name: string, where: string): void {
  for (let i = 0; i < data.length; i++) {
    const value = data[i] as number;
    if (value - value === 0) continue;
    throw userError({
      what: `tensor ${name} is damaged`,
      where,
      got: `${value} at place ${i} of ${data.length}`,
      expected: 'finite numbers',
    });
  }
}
