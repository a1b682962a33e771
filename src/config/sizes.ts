import { z } from 'zod';

const units: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Bytes of a size such as `4GB` (10^9), `512 MiB` (2^20) or a plain number of bytes; undefined where it is none. */
export function parseMemorySize(value: string | number): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(String(value));
  const amount = Number(match?.[1]);
  const unit = match?.[2] === '' ? 1 : units[(match?.[2] ?? '?').toUpperCase()];
  const bytes = unit === undefined ? NaN : Math.round(amount * unit);
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined;
}

/** A memory size in a configuration; its value is a number of bytes. */
export const memorySizeSchema = z.union([z.string(), z.number()]).transform((value, context) => {
  const bytes = parseMemorySize(value);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: 'custom', message: 'a memory size such as 4GB or 512MiB', input: value });
  return z.NEVER;
});
