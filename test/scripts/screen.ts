/** A control sequence, or one character. */
// eslint-disable-next-line no-control-regex
const pieces = /\u001b\[[\d;?]*[A-Za-z]|[\s\S]/gu;

/**
 * What a terminal shows after it was sent this text: printable characters, line feed, carriage return, erasing of a line (CSI K) and colours
 * (which are left out). @throws Error at any other control, which a test should know of
 */
export function screenOf(sent: string, columns: number): string[] {
  const lines: string[][] = [[]];
  let column = 0;
  for (const [part] of sent.matchAll(pieces)) {
    const line = lines[lines.length - 1] as string[];
    if (part === '\n') {
      lines.push([]);
      column = 0;
    } else if (part === '\r') column = 0;
    else if (part.startsWith('\u001b[') && part.endsWith('m')) continue;
    else if (part === '\u001b[2K') line.fill(' ');
    else if (part === '\u001b[K' || part === '\u001b[0K') line.length = Math.min(line.length, column);
    else if (part < ' ' || part === '\u007f') throw new Error(`unexpected control ${JSON.stringify(part)}`);
    else if (part.length > 1 && part.startsWith('\u001b'))
      throw new Error(`unexpected ${JSON.stringify(part)}`);
    else {
      if (column === columns) {
        lines.push([]);
        column = 0;
      }
      const row = lines[lines.length - 1] as string[];
      while (row.length < column) row.push(' ');
      row[column] = part;
      column += 1;
    }
  }
  return lines.map((line) => line.join('').trimEnd());
}
