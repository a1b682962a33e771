import { shown, userError } from '../shared/errors.js';
import type { DataRow } from './rows.js';

const number = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

/** A row's text. @throws UserError, `file:line column`, where it is no text or a blank one. */
export function textCell(row: DataRow, column: string): string {
  const value = row.values[column];
  if (typeof value !== 'string') throw wrongCell(row, column, 'a text');
  if (value.trim() === '') throw userError({ what: 'empty text', where: `${row.where} ${column}` });
  return value;
}

/** A row's number: a JSON or parquet number, or one in decimal notation. @throws UserError, `file:line column`, for anything else. */
export function numberCell(row: DataRow, column: string): number {
  const value = row.values[column];
  const text = typeof value === 'string' ? value.trim() : undefined;
  const parsed =
    text === undefined
      ? typeof value === 'number' || typeof value === 'bigint'
        ? Number(value)
        : NaN
      : number.test(text)
        ? Number(text)
        : NaN;
  if (!Number.isFinite(parsed)) throw wrongCell(row, column, 'a number');
  return parsed;
}

/** A row's list of texts (JSON lines and parquet); a single text is a list of one, null none. @throws UserError, `file:line column`. */
export function textListCell(row: DataRow, column: string): readonly string[] {
  const value = row.values[column];
  if (value === null || value === undefined) return [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.map((entry, i) => {
    if (typeof entry === 'string' && entry.trim() !== '') return entry;
    throw wrongCell(
      { ...row, values: { [`${column}[${String(i)}]`]: entry } },
      `${column}[${String(i)}]`,
      'a text',
    );
  });
}

function wrongCell(row: DataRow, column: string, expected: string): Error {
  const value = row.values[column];
  const got = shown(value, 60);
  return userError({
    what: `${column} is not ${expected}`,
    where: `${row.where} ${column}`,
    got,
    expected,
  });
}
