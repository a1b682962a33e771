import { readFile } from 'node:fs/promises';
import type { z } from 'zod';
import { UserError, userError } from '../shared/errors.js';
import { statOrUserError } from '../shared/files.js';
import { readDocument, type ConfigDocument, type Problem } from './document.js';
import { describeIssues, keepKnownKeys } from './problems.js';

export interface LoadedConfig<T> {
  readonly config: T;
  readonly document: ConfigDocument;
}

const maxBytes = 1_000_000;

/**
 * Reads a YAML configuration, lays `key.path=value` overrides over it and checks it against `schema`.
 * @throws UserError whose message lists every problem, one a line: `file:line:column key: got X, expected Y (did you mean Z?)`.
 */
export async function loadConfig<S extends z.ZodType>(
  path: string,
  overrides: readonly string[],
  schema: S,
): Promise<LoadedConfig<z.output<S>>> {
  const stats = await statOrUserError(path, 'config');
  if (!stats.isFile()) throw userError({ what: 'config is not a file', where: path });
  if (stats.size > maxBytes)
    throw userError({
      what: 'config is too large',
      where: path,
      got: `${stats.size} bytes`,
      expected: `at most ${maxBytes}`,
    });
  return parseConfig(await readFile(path, 'utf8'), { file: path, overrides, schema });
}

/** `loadConfig` for text at hand. `file` is the name that messages show. */
export function parseConfig<S extends z.ZodType>(
  text: string,
  options: { readonly file: string; readonly overrides: readonly string[]; readonly schema: S },
): LoadedConfig<z.output<S>> {
  try {
    return checkedConfig(text, options);
  } catch (error) {
    // Parser and schema call themselves for every level, and a few thousand of them are more than the stack holds.
    if (!(error instanceof RangeError)) throw error;
    throw userError({ what: 'not valid YAML: nested too deeply', where: options.file });
  }
}

function checkedConfig<S extends z.ZodType>(
  text: string,
  options: { readonly file: string; readonly overrides: readonly string[]; readonly schema: S },
): LoadedConfig<z.output<S>> {
  const { document, problems } = readDocument(text, options.file, options.overrides);
  if (document === undefined) throw configError(problems);
  const result = options.schema.safeParse(document.data, { error: keepKnownKeys, reportInput: true });
  const issues = result.success ? [] : describeIssues(result.error.issues, document);
  if (!result.success || problems.length > 0) throw configError([...problems, ...issues]);
  return { config: result.data, document };
}

function configError(problems: readonly Problem[]): UserError {
  const sorted = [...problems].sort((a, b) => a.order - b.order);
  return new UserError([...new Set(sorted.map((problem) => problem.sentence))].join('\n'));
}
