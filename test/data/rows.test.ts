import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { numberCell, textCell, textListCell } from '../../src/data/cells.js';
import {
  columnsOf,
  dataFormatOf,
  readRows,
  type DataRow,
  type ReadRowsOptions,
} from '../../src/data/rows.js';
import { withTimeLimit } from '../../src/data/time-limit.js';

const golden = join(import.meta.dirname, '../golden/data');
let folder = '';
let count = 0;
const file = async (name: string, content: string | Uint8Array): Promise<string> => {
  count += 1;
  const path = join(folder, `${String(count)}-${name}`);
  await writeFile(path, content);
  return path;
};
const rowsOf = async (path: string, options?: ReadRowsOptions): Promise<DataRow[]> => {
  const rows: DataRow[] = [];
  for await (const row of readRows(path, options)) rows.push(row);
  return rows;
};
const valuesOf = async (path: string, options?: ReadRowsOptions): Promise<unknown[]> =>
  (await rowsOf(path, options)).map(({ values }) => values);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-rows-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('formats', () => {
  it('are told by the name, with or without packing', () => {
    expect(
      ['a.txt', 'a.tsv.gz', 'b/a.CSV', 'a.jsonl.zst', 'a.ndjson', 'a.parquet', 'a.bin', 'a'].map(
        dataFormatOf,
      ),
    ).toEqual(['txt', 'tsv', 'csv', 'jsonl', 'jsonl', 'parquet', undefined, undefined]);
  });

  it('TXT: a row a line', async () => {
    expect(await rowsOf(await file('a.txt', '\ufeffone\r\n two \n\nlast'))).toMatchObject([
      { values: { text: 'one' }, where: expect.stringMatching(/a\.txt:1$/) as string },
      { values: { text: ' two ' } },
      { values: { text: '' } },
      { values: { text: 'last' }, where: expect.stringMatching(/a\.txt:4$/) as string },
    ]);
  });

  it('TSV: a header, no quoting, columns in any order', async () => {
    const path = await file('a.tsv', 'score\tsentence1\tsentence2\n5\t"Yes," he said\tno\n');
    expect(await valuesOf(path)).toEqual([{ score: '5', sentence1: '"Yes," he said', sentence2: 'no' }]);
    expect(await valuesOf(path, { columns: ['sentence2'], optional: ['label'] })).toEqual([
      { sentence2: 'no', label: null },
    ]);
    expect(await columnsOf(path)).toEqual(['score', 'sentence1', 'sentence2']);
  });

  it('CSV: quoting, commas, line ends and doubled marks inside a field', async () => {
    const path = await file('a.csv', 'a,b\r\n"x, ""y""\r\nz",5" pipe\r\n,""\r\n');
    const rows = await rowsOf(path);
    expect(rows.map(({ values }) => values)).toEqual([
      { a: 'x, "y"\nz', b: '5" pipe' },
      { a: '', b: '' },
    ]);
    expect(rows.map(({ where }) => where.split(':').at(-1))).toEqual(['2', '4']);
  });

  it('CSV written by the rules reads back, whatever its fields', async () => {
    const cell = fc.string({ unit: fc.constantFrom('"', ',', '\n', 'x', ' ', '\t', 'é', '🙂') });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(cell, cell), { maxLength: 8 }), async (table) => {
        const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
        const text = [['a', 'b'], ...table].map((fields) => `${fields.map(quote).join(',')}\n`).join('');
        const path = join(folder, 'property.csv');
        await writeFile(path, text);
        expect(await valuesOf(path)).toEqual(table.map(([a, b]) => ({ a, b })));
      }),
      { numRuns: 100 },
    );
  });

  it('JSON lines: values of any kind', async () => {
    const path = await file(
      'a.jsonl',
      '{"text": "one", "n": [1, null]}\n\n{"text": "two", "__proto__": 3}\n',
    );
    expect(await valuesOf(path, { columns: ['text'], optional: ['n'] })).toEqual([
      { text: 'one', n: [1, null] },
      { text: 'two', n: null },
    ]);
    const [, second] = await rowsOf(path);
    expect(Object.keys(second!.values)).toEqual(['text', '__proto__']);
    expect(second!.where).toMatch(/a\.jsonl:3$/);
  });

  it('gzip and zstd, told by their bytes, several members and frames', async () => {
    const lines = readFileSync(join(golden, 'lines.txt'), 'utf8').split('\n').slice(0, -1);
    const gzip = Buffer.concat([gzipSync('one\ntw'), gzipSync('o\n')]);
    expect(await valuesOf(await file('a.txt.gz', gzip))).toEqual([{ text: 'one' }, { text: 'two' }]);
    expect(await valuesOf(await file('packed.tsv', gzipSync('a\tb\n1\t2\n')))).toEqual([{ a: '1', b: '2' }]);
    expect(await valuesOf(join(golden, 'lines.txt.zst'))).toEqual(lines.map((text) => ({ text })));
  });

  it.each(['plain', 'snappy', 'gzip-v2', 'zstd', 'brotli', 'lz4', 'delta', 'index'])(
    'parquet as pyarrow writes it: %s',
    async (name) => {
      const path = join(golden, `${name}.parquet`);
      const expected = JSON.parse(await readFile(join(golden, 'rows.json'), 'utf8')) as Record<
        string,
        unknown
      >[];
      const rows = await rowsOf(path);
      expect(rows.map(({ values }) => ({ ...values, id: Number(values['id']) }))).toEqual(expected);
      expect(rows[59]!.where).toBe(`${path}:row 60`);
      expect(await valuesOf(path, { columns: ['label'], optional: ['nothing'] })).toEqual(
        expected.map(({ label }) => ({ label, nothing: null })),
      );
    },
  );
});

describe('bad input is one sentence with its place', () => {
  const fails = async (path: string, pattern: RegExp, options?: ReadRowsOptions): Promise<void> => {
    await expect(rowsOf(path, options)).rejects.toThrow(pattern);
  };

  it('columns that are not there, or twice', async () => {
    const path = await file('a.tsv', 'sentence\tscore\tscore\nx\t1\t2\n');
    await fails(path, /a\.tsv:1: no column "sentance": got the columns .* \(did you mean sentence\?\)/, {
      columns: ['sentance'],
    });
    await fails(path, /a\.tsv:1: two columns "score"/, { columns: ['score'] });
    expect(await valuesOf(path, { columns: ['sentence'] })).toEqual([{ sentence: 'x' }]);
    await fails(await file('empty.tsv', ''), /empty\.tsv:1: no column "a": got no header/, {
      columns: ['a'],
    });
    await fails(await file('b.jsonl', '{"text": 1}\n{"tex": 1}\n'), /b\.jsonl:2: no column "text"/, {
      columns: ['text'],
    });
    await fails(join(golden, 'snappy.parquet'), /snappy\.parquet: no column "txt".*did you mean text/, {
      columns: ['txt'],
    });
  });

  it('a wrong number of fields', async () => {
    await fails(
      await file('a.tsv', 'a\tb\n1\t2\n\n'),
      /a\.tsv:3: wrong number of fields: got an empty line, expected 2 separated by tabs/,
    );
    await fails(
      await file('a.csv', 'a,b\n1,2,3\n'),
      /a\.csv:2: wrong number of fields: got 3 fields, expected 2 separated by commas/,
    );
  });

  it('CSV quotation marks', async () => {
    await fails(await file('a.csv', 'a,b\nx,"y\nz,1\n'), /a\.csv:2:3: a quoted field does not end/);
    await fails(await file('b.csv', 'a,b\nx,"y"z\n'), /b\.csv:2:6: text after a quoted field: got "z"/);
  });

  it('JSON', async () => {
    await fails(await file('a.jsonl', '{"a": 1}\n{"a": x}\n'), /a\.jsonl:2:7: not valid JSON/);
    await fails(await file('d.jsonl', '{"a": [1, {"b": "x\\u00g0"}]}'), /d\.jsonl:1:17: not valid JSON/);
    await fails(
      await file('e.jsonl', '{"a": [1, 2'),
      /e\.jsonl:1:12: not valid JSON: got the end of the line/,
    );
    await fails(await file('f.jsonl', '{"a": 1}, {"a": 2}'), /f\.jsonl:1:9: not valid JSON/);
    await fails(await file('b.jsonl', '[1]\n'), /b\.jsonl:1:1: not a JSON object: got a list/);
    await fails(
      await file('c.json', '[\n{"a": 1}\n]\n'),
      /c\.json:1:\d+: not valid JSON.*write each object on a line of its own/,
    );
  });

  it('bytes that are not UTF-8', async () => {
    await fails(
      await file('a.csv', Buffer.from([0x61, 0x0a, 0xff, 0x0a])),
      /a\.csv:2: the text is not UTF-8/,
    );
  });

  it('packed data that is cut off or damaged', async () => {
    const gzip = gzipSync('some text\n'.repeat(1000));
    await fails(
      await file('a.txt.gz', gzip.subarray(0, 40)),
      /a\.txt\.gz: broken gzip data: got unexpected end of file/,
    );
    const zstd = readFileSync(join(golden, 'lines.txt.zst'));
    await fails(
      await file('a.txt.zst', zstd.subarray(0, 900)),
      /a\.txt\.zst: broken zstd data: got an end within a frame/,
    );
    const window = Buffer.from('28b52ffd00a80000000000', 'hex');
    await fails(
      await file('b.txt.zst', window),
      /b\.txt\.zst: this zstd file wants too much memory: got a window of 2147483648 bytes/,
    );
  });

  it('a folder, a missing file, a parquet file that is none', async () => {
    await fails(folder, /cannot read data: got a folder/);
    await fails(join(folder, 'nowhere.csv'), /nowhere\.csv: data file not found/);
    await fails(await file('a.parquet', 'PAR1 no'), /a\.parquet: broken parquet file/);
  });
});

describe('decoders that do not end', () => {
  it('are stopped, and the ones after them work', () => {
    expect(() =>
      withTimeLimit(() => {
        for (;;);
      }, 50),
    ).toThrow(/cannot be unpacked in any reasonable time/);
    expect(withTimeLimit(() => 7)).toBe(7);
    expect(() => withTimeLimit(() => JSON.parse('x') as unknown)).toThrow(SyntaxError);
  });
});

describe('cells', () => {
  const row: DataRow = {
    values: { text: 'a', blank: ' ', score: '1e-1', big: 3n, list: ['x', 'y'], bad: ['x', 1], none: null },
    where: 'f.csv:2',
  };

  it('texts, numbers and lists', () => {
    expect([textCell(row, 'text'), numberCell(row, 'score'), numberCell(row, 'big')]).toEqual(['a', 0.1, 3]);
    expect([textListCell(row, 'list'), textListCell(row, 'text'), textListCell(row, 'none')]).toEqual([
      ['x', 'y'],
      ['a'],
      [],
    ]);
  });

  it('anything else is one sentence', () => {
    expect(() => textCell(row, 'blank')).toThrow('f.csv:2 blank: empty text');
    expect(() => textCell(row, 'big')).toThrow('f.csv:2 big: big is not a text: got 3, expected a text');
    expect(() => numberCell(row, 'text')).toThrow(
      'f.csv:2 text: text is not a number: got "a", expected a number',
    );
    expect(() => textListCell(row, 'bad')).toThrow('f.csv:2 bad[1]: bad[1] is not a text: got 1');
  });
});
