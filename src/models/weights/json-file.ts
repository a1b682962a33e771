import { readFile, stat } from 'node:fs/promises';
import { userError } from '../../shared/errors.js';
import { isJsonObject, type JsonObject } from './types.js';

/** Larger than any tokenizer.json in use, smaller than what would exhaust memory. */
const maxJsonBytes = 256 * 1024 * 1024;

/** Reads a JSON object from a file; undefined where there is none. @throws UserError where it is not one. */
export async function readJsonFile(path: string): Promise<JsonObject | undefined> {
  const text = await readText(path);
  return text === undefined ? undefined : parseJsonObject(text, path);
}

/** Reads a JSON list from a file; undefined where there is none. @throws UserError where it is not one. */
export async function readJsonList(path: string): Promise<readonly unknown[] | undefined> {
  const text = await readText(path);
  const value = text === undefined ? undefined : parseJson(text, path);
  if (value === undefined || Array.isArray(value)) return value;
  throw userError({ what: 'wrong JSON', where: path, expected: 'a list' });
}

async function readText(path: string): Promise<string | undefined> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) return undefined;
  if (!stats.isFile()) throw userError({ what: 'cannot read JSON', where: path, got: 'not a file' });
  if (stats.size > maxJsonBytes) {
    throw userError({
      what: 'JSON file too large',
      where: path,
      got: `${stats.size} bytes`,
      expected: `at most ${maxJsonBytes}`,
    });
  }
  return readFile(path, 'utf8');
}

/** Parses a JSON object. @throws UserError with `where` in front. */
export function parseJsonObject(text: string, where: string): JsonObject {
  const value = parseJson(text, where);
  if (!isJsonObject(value)) throw userError({ what: 'wrong JSON', where, expected: 'an object' });
  return value;
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text.startsWith('\uFEFF') ? text.slice(1) : text);
  } catch (error) {
    throw userError({
      what: 'not valid JSON',
      where,
      got: error instanceof Error ? error.message : String(error),
    });
  }
}
