import { userError } from '../../shared/errors.js';

/** @throws UserError where a weight is NaN or infinite: every result would be NaN, and nobody would know why. */
export function checkFinite(
  { length, pieces }: { readonly length: number; readonly pieces: Iterable<Float32Array> },
  name: string,
  where: string,
): void {
  let before = 0;
  for (const data of pieces) {
    for (let i = 0; i < data.length; i++) {
      const value = data[i] as number;
      if (value - value === 0) continue;
      throw userError({
        what: `tensor ${name} is damaged`,
        where,
        got: `${value} at place ${before + i} of ${length}`,
        expected: 'finite numbers',
      });
    }
    before += data.length;
  }
}
