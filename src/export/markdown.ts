/** A table whose cells may hold anything. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Words as code, on one line. */
export function code(text: string): string {
  return `\`${text.replaceAll('\n', '\\n').replaceAll('`', "'")}\``;
}
