import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { statOrUserError } from '../shared/files.js';
import { userError } from '../shared/errors.js';

const lineFeed = 0x0a;
/** No text is this long; a file without line feeds is hardly text, and would fill the memory. */
const longestLine = 64 * 1024 * 1024;

/** The file itself, or the .txt files in and below a folder, in the order of their names. @throws UserError */
export async function listTextFiles(path: string): Promise<string[]> {
  const stats = await statOrUserError(path, 'training text');
  if (!stats.isDirectory()) return [path];
  const names = (await readdir(path, { recursive: true })).filter((name) => name.endsWith('.txt')).sort();
  if (names.length > 0) return names.map((name) => join(path, name));
  throw userError({ what: 'the folder holds no text', where: path, expected: 'files that end in .txt' });
}

/**
 * The lines of a UTF-8 file one after the other, without line ends, byte order mark and white space around them; an empty one is a
 * document break. Holds one block of the file at a time.
 * @throws UserError naming the line where bytes are not UTF-8
 */
export async function* readLines(path: string): AsyncGenerator<string> {
  let number = 1;
  let carried: Buffer[] = [];
  let carriedBytes = 0;
  for await (const block of createReadStream(path, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>) {
    const end = block.lastIndexOf(lineFeed) + 1;
    if (end > 0) {
      const whole = Buffer.concat([...carried, block.subarray(0, end - 1)]);
      for (const line of decodeLines(whole, path, number)) {
        yield line;
        number += 1;
      }
      [carried, carriedBytes] = [[], 0];
    }
    carried.push(block.subarray(end));
    carriedBytes += block.length - end;
    if (carriedBytes > longestLine) {
      throw userError({
        what: 'a line is too long for a text',
        where: `${path}:${String(number)}`,
        expected: 'one text per line',
      });
    }
  }
  if (carriedBytes > 0) yield* decodeLines(Buffer.concat(carried), path, number);
}

function decodeLines(bytes: Buffer, path: string, firstNumber: number): string[] {
  if (!isUtf8(bytes)) throw notUtf8(bytes, path, firstNumber);
  const lines = bytes.toString('utf8').split('\n');
  if (firstNumber === 1) lines[0] = (lines[0] ?? '').replace(/^\uFEFF/, '');
  return lines.map((line) => line.trim());
}

function notUtf8(bytes: Buffer, path: string, firstNumber: number): Error {
  let number = firstNumber;
  let start = 0;
  for (;;) {
    const end = bytes.indexOf(lineFeed, start);
    if (end < 0 || !isUtf8(bytes.subarray(start, end))) break;
    start = end + 1;
    number += 1;
  }
  return userError({
    what: 'the text is not UTF-8',
    where: `${path}:${String(number)}`,
    hint: 'convert the file to UTF-8',
  });
}
