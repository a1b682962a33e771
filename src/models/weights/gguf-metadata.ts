import { userError } from '../../shared/errors.js';
import type { GgufValue } from './gguf-cursor.js';
import type { GgufFile } from './gguf.js';

/** Typed access to a GGUF file's metadata; every getter says in one sentence what does not fit. */
export interface MetadataReader {
  number(key: string): number | undefined;
  /** A whole number of at least `minimum`. */
  integer(key: string, minimum?: number): number | undefined;
  boolean(key: string): boolean | undefined;
  text(key: string): string | undefined;
  texts(key: string): readonly string[] | undefined;
  numbers(key: string): readonly number[] | undefined;
  /** @throws UserError where `value` is undefined. */
  required<T>(key: string, value: T | undefined): T;
}

export function metadataReader(file: Pick<GgufFile, 'path' | 'metadata'>): MetadataReader {
  const wrong = (key: string, value: GgufValue, expected: string): Error =>
    userError({
      what: `metadata ${key} does not fit`,
      where: file.path,
      got: Array.isArray(value) ? 'a list' : JSON.stringify(String(value).slice(0, 80)),
      expected,
    });
  const typed = <T extends GgufValue>(
    key: string,
    is: (value: GgufValue) => value is T,
    expected: string,
  ): T | undefined => {
    const value = file.metadata.get(key);
    if (value === undefined) return undefined;
    if (!is(value)) throw wrong(key, value, expected);
    return value;
  };
  return {
    number: (key) => typed(key, isFiniteNumber, 'a number'),
    integer: (key, minimum = 0) =>
      typed(
        key,
        (value): value is number => Number.isSafeInteger(value) && (value as number) >= minimum,
        `a whole number of at least ${minimum}`,
      ),
    boolean: (key) => typed(key, (value) => typeof value === 'boolean', 'true or false'),
    text: (key) => typed(key, (value) => typeof value === 'string', 'a text'),
    texts: (key) =>
      typed(
        key,
        isListOf((value) => typeof value === 'string'),
        'a list of texts',
      ),
    numbers: (key) => typed(key, isListOf(isFiniteNumber), 'a list of numbers'),
    required: (key, value) => {
      if (value === undefined) throw userError({ what: `metadata ${key} is missing`, where: file.path });
      return value;
    },
  };
}

function isFiniteNumber(value: GgufValue): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isListOf<T extends GgufValue>(
  is: (value: GgufValue) => value is T,
): (value: GgufValue) => value is readonly T[] {
  return (value): value is readonly T[] => Array.isArray(value) && (value as readonly GgufValue[]).every(is);
}
