import { isUtf8 } from 'node:buffer';
import { userError } from '../shared/errors.js';

/**
 * The texts to embed, one a line. Lines end at line feeds only (a carriage return before one is dropped); a last line feed ends the last line.
 * @param where the file's name in errors
 * @throws UserError naming the first empty line, or where the bytes are not UTF-8 or there is no text
 */
export function parseSentences(bytes: Uint8Array, where: string): string[] {
  if (!isUtf8(bytes)) throw userError({ what: 'the input is not UTF-8', where, hint: 'convert it to UTF-8' });
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .toString('utf8')
    .replace(/^\uFEFF/, '');
  const lines = text.split('\n').map((line) => line.replace(/\r$/, ''));
  if (lines.at(-1) === '') lines.pop();
  if (lines.length === 0) throw userError({ what: 'no text to embed', where, expected: 'one text a line' });
  const empty = lines.findIndex((line) => line.trim() === '');
  if (empty >= 0)
    throw userError({ what: 'empty line', where: `${where}:${empty + 1}`, expected: 'one text a line' });
  return lines;
}
