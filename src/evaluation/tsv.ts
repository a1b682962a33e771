import { readFile } from 'node:fs/promises';
import { userError } from '../shared/errors.js';
import { statOrUserError } from '../shared/files.js';

/** Sentence pairs with their gold scores, in file order. `lines` holds each pair's line number. */
export interface SentencePairs {
  readonly gold: Float64Array;
  readonly first: readonly string[];
  readonly second: readonly string[];
  readonly lines: Uint32Array;
}

const maxBytes = 256 * 1024 * 1024;
const number = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const columns = ['score', 'sentence1', 'sentence2'] as const;

/**
 * Reads a tab-separated file: a header line with the columns score, sentence1 and sentence2 in any order (others are
 * ignored), then one pair a line. There is no quoting: a field may begin with a quotation mark.
 * @throws a user error with file and line for whatever is not so.
 */
export async function readSentencePairs(path: string): Promise<SentencePairs> {
  return parseSentencePairs(await readTextFile(path, 'evaluation set'), path);
}

export function parseSentencePairs(text: string, path: string): SentencePairs {
  const [headerLine = '', ...rows] = splitLines(text);
  const header = headerLine.split('\t').map((name) => name.trim());
  const [scoreAt, firstAt, secondAt] = columns.map((name) => columnOf(header, name, path));
  const gold = new Float64Array(rows.length);
  const lines = new Uint32Array(rows.length);
  const first: string[] = [];
  const second: string[] = [];
  for (const [i, row] of rows.entries()) {
    const where = `${path}:${String(i + 2)}`;
    const fields = row.split('\t');
    if (fields.length !== header.length) {
      const got = row.trim() === '' ? 'an empty line' : `${String(fields.length)} fields`;
      throw userError({
        what: 'wrong number of fields',
        where,
        got,
        expected: `${String(header.length)} separated by tabs`,
      });
    }
    gold[i] = scoreOf(fields[scoreAt as number] as string, where);
    first.push(sentenceOf(fields[firstAt as number] as string, 'sentence1', where));
    second.push(sentenceOf(fields[secondAt as number] as string, 'sentence2', where));
    lines[i] = i + 2;
  }
  return { gold, first, second, lines };
}

/** Reads a file of one subset label a line, `rows` of them. @throws a user error where that is not so. */
export async function readSubsetLabels(path: string, rows: number): Promise<readonly string[]> {
  const labels = splitLines(await readTextFile(path, 'subset labels'));
  if (labels.length !== rows) {
    throw userError({
      what: 'subset labels do not match the evaluation set',
      where: path,
      got: `${String(labels.length)} lines`,
      expected: `one for each of its ${String(rows)} pairs`,
    });
  }
  const empty = labels.findIndex((label) => label.trim() === '');
  if (empty >= 0) throw userError({ what: 'empty subset label', where: `${path}:${String(empty + 1)}` });
  return labels.map((label) => label.trim());
}

async function readTextFile(path: string, what: string): Promise<string> {
  const stats = await statOrUserError(path, what);
  if (!stats.isFile()) throw userError({ what: `cannot read ${what}`, where: path, expected: 'a file' });
  if (stats.size > maxBytes) {
    const got = `${String(stats.size)} bytes`;
    throw userError({
      what: `${what} is too large`,
      where: path,
      got,
      expected: `at most ${String(maxBytes)} bytes`,
    });
  }
  const bytes = await readFile(path);
  try {
    // Drops a byte order mark.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const line = firstBadLine(bytes);
    throw userError({ what: `${what} is not UTF-8`, where: `${path}:${String(line)}` });
  }
}

function firstBadLine(bytes: Buffer): number {
  const lines = bytes.toString('latin1').split('\n');
  const strict = new TextDecoder('utf-8', { fatal: true });
  const bad = lines.findIndex((line) => {
    try {
      strict.decode(Buffer.from(line, 'latin1'));
      return false;
    } catch {
      return true;
    }
  });
  return bad + 1;
}

/** Lines without their ends (LF or CRLF); a last line end begins no further line. */
function splitLines(text: string): string[] {
  const lines = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function columnOf(header: readonly string[], name: string, path: string): number {
  const at = header.indexOf(name);
  if (at < 0 || header.indexOf(name, at + 1) >= 0) {
    throw userError({
      what: at < 0 ? `no column "${name}"` : `two columns "${name}"`,
      where: `${path}:1`,
      got: header.join('') === '' ? 'no header' : `the header ${header.slice(0, 8).map(quoted).join(', ')}`,
      expected: 'a header with score, sentence1 and sentence2, separated by tabs',
    });
  }
  return at;
}

function scoreOf(field: string, where: string): number {
  const text = field.trim();
  const value = number.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(value)) {
    throw userError({ what: 'score is not a number', where: `${where} score`, got: quoted(text) });
  }
  return value;
}

function sentenceOf(field: string, name: string, where: string): string {
  if (field.trim() === '') throw userError({ what: 'empty sentence', where: `${where} ${name}` });
  return field;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
