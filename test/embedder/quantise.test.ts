import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Embedder } from '../../src/embedder/embedder.js';
import {
  comparable,
  quantise,
  rangesFile,
  rangesOf,
  readRanges,
  type Precision,
} from '../../src/embedder/quantise.js';
import { pairSimilarities } from '../../src/evaluation/similarity.js';
import { calibrateRanges } from '../../src/recipes/calibrate.js';
import { embed } from '../../src/recipes/embed.js';
import { evaluate } from '../../src/recipes/evaluate.js';

const goldenFolder = new URL('../golden/quantise/', import.meta.url);
const golden = JSON.parse(readFileSync(new URL('golden.json', goldenFolder), 'utf8')) as {
  readonly rows: number;
  readonly dimensions: number;
  readonly vectors: number[];
  readonly calibration: number[];
  readonly quantised: Readonly<Record<Precision, number[]>>;
  readonly cosines: Readonly<Record<Precision, number[]>>;
};
const { rows, dimensions } = golden;
const matrix = { rows, dimensions, data: Float32Array.from(golden.vectors) };
const calibration = {
  rows: golden.calibration.length / dimensions,
  dimensions,
  data: Float32Array.from(golden.calibration),
};
const rangesNpy = readFileSync(new URL('ranges.npy', goldenFolder));

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quantise-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('quantised vectors', () => {
  it.each(['int8', 'uint8', 'binary', 'ubinary'] as const)(
    '%s are those of sentence-transformers, and compared as it compares them',
    (precision) => {
      const made = quantise(matrix, precision, rangesOf(calibration));
      expect([...made.data]).toEqual(golden.quantised[precision]);
      const seen = comparable(made, precision);
      const others = Uint32Array.from({ length: rows }, (_, row) => row);
      const { cosine } = pairSimilarities(seen, new Uint32Array(rows), others);
      cosine.forEach((value, row) => expect(value).toBeCloseTo(golden.cosines[precision][row]!, 12));
    },
  );

  it("ranges are NumPy's file, there and back", () => {
    expect(rangesFile(rangesOf(calibration)).equals(rangesNpy)).toBe(true);
    expect(readRanges(rangesNpy, 'ranges.npy')).toEqual(rangesOf(calibration));
    fc.assert(
      fc.property(fc.nat(rangesNpy.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const broken = Buffer.from(rangesNpy);
        broken[at] = (broken[at]! + change) % 256;
        try {
          expect(readRanges(broken, 'x').least).toHaveLength(dimensions);
        } catch (error) {
          expect((error as Error).message).toMatch(/^x: not a file of ranges/);
        }
      }),
    );
    expect(() => readRanges(rangesNpy.subarray(0, 40), 'x')).toThrow(/not a file of ranges/);
    expect(() => readRanges(Buffer.alloc(0), 'x')).toThrow(/not a file of ranges/);
  });

  it('are calibrated, written and evaluated by the commands', async () => {
    const texts = ['the horse ran', 'a small house near a river', 'water', 'the sky is blue', 'one more'];
    const input = join(folder, 'texts.txt');
    const ranges = join(folder, 'ranges.npy');
    const output = join(folder, 'vectors.npy');
    await writeFile(input, `${texts.join('\n')}\n`);
    const model = { model: 'embedded', threads: 1 };
    expect(await calibrateRanges({ ...model, texts: input, output: ranges })).toBe(texts.length);
    await embed({ ...model, input, output, precision: 'int8', ranges });
    const embedder = await Embedder.open('embedded', { threads: 1 });
    const vectors = await embedder.encode(texts);
    await embedder.dispose();
    const file = await readFile(output);
    const start = 10 + file.readUInt16LE(8);
    expect(file.subarray(10, start).toString('latin1')).toContain(
      `{'descr': '|i1', 'fortran_order': False, 'shape': (5, ${vectors.dimensions}), }`,
    );
    const expected = quantise(vectors, 'int8', rangesOf(vectors));
    expect(Int8Array.from(file.subarray(start))).toEqual(expected.data);

    const lines = join(folder, 'vectors.jsonl');
    await embed({ ...model, input, output: lines, precision: 'ubinary' });
    const read = (await readFile(lines, 'utf8')).trimEnd().split('\n');
    expect(read.flatMap((line) => JSON.parse(line) as number[])).toEqual([
      ...quantise(vectors, 'ubinary').data,
    ]);

    const pairs = join(folder, 'pairs.tsv');
    await writeFile(
      pairs,
      'score\tsentence1\tsentence2\n5\tthe horse ran\ta horse runs\n1\twater\tthe sky is blue\n0\tone more\ta small house near a river\n4\twater\tsome water\n',
    );
    const set = { tasks: [pairs], folder, split: 'test', protocol: 'mteb' } as const;
    const scored = async (precision: Precision): Promise<string> => {
      const report = await evaluate({
        ...set,
        model,
        baselines: false,
        bootstrap: 0,
        precision,
        output: join(folder, 'results'),
        ...(precision === 'int8' ? { ranges } : {}),
      });
      expect(report.rows[0]!.results[0]!.mainScore).toBeGreaterThan(0);
      return report.files[0]!;
    };
    expect(await scored('int8')).toMatch(/-int8/);
    expect(await scored('binary')).toMatch(/-binary/);
  });

  it('say what they need', async () => {
    const input = join(folder, 'one.txt');
    await writeFile(input, 'one\n');
    const output = join(folder, 'never.npy');
    await expect(embed({ model: 'embedded', input, output, precision: 'int8' })).rejects.toThrow(
      /int8 vectors need the ranges.*lmvec calibrate --ranges/,
    );
    const ranges = join(folder, 'other.npy');
    await writeFile(ranges, rangesNpy);
    await expect(embed({ model: 'embedded', input, output, precision: 'int8', ranges })).rejects.toThrow(
      /ranges are of vectors of another length: got 13 numbers, expected 192/,
    );
    await expect(embed({ model: 'embedded', input, output, precision: 'binary', ranges })).rejects.toThrow(
      /ranges are of int8 and uint8 vectors only/,
    );
  });
});
