const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as it may stand in an element or a quoted attribute. */
export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '');
}

/** A table; the first row is its head. Cells are text. */
export function htmlTable(rows: readonly (readonly string[])[]): string {
  const [head = [], ...body] = rows;
  const line = (cells: readonly string[], tag: string): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`;
  return [
    '<table>',
    `<thead>${line(head, 'th')}</thead>`,
    '<tbody>',
    ...body.map((cells) => line(cells, 'td')),
    '</tbody>',
    '</table>',
  ].join('\n');
}

/** A table of names and what they stand for. */
export function definitions(pairs: readonly (readonly [string, string])[]): string {
  const rows = pairs.map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`);
  return `<dl>\n${rows.join('\n')}\n</dl>`;
}
