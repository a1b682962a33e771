import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.js';
import { runSchema, type RunConfig } from '../../../src/recipes/schema.js';
import { resume, train } from '../../../src/recipes/train.js';
import type { Progress } from '../../../src/shared/progress.js';
import { goldenFolder, SENTENCES } from '../../training/tiny.js';
import { chromiumPath, lookAt } from './browser.js';
import { pixelsOf } from './png.js';

let base = '';
let run: RunConfig;
/** The page as it stands after each step of the run, where there is one. */
const pages = new Map<string, string>();

const pairs = [
  'score\tsentence1\tsentence2',
  '5\ta cat sat\tthe cat sat',
  '1\tthe dog\tone 42',
  '3\tone mat\tthat mat',
  '0\ta\tzz',
];

function configOf(output: string): RunConfig {
  const stage = 'batchTexts: 5, maxTokens: 64, learningRate: 1e-2';
  const text = `{model: ${JSON.stringify(goldenFolder('base'))}, output: ${JSON.stringify(join(base, output))},
    data: {train: ${JSON.stringify(join(base, 'texts.txt'))}}, tuning: {type: lora, rank: 2, alpha: 4},
    stages: {mntp: {objective: mntp, maxSteps: 6, ${stage}}, simcse: {objective: simcse, maxSteps: 6, ${stage}}},
    evaluate: {tasks: [${JSON.stringify(join(base, 'pairs <b>&.tsv'))}], everySteps: 2},
    export: {files: []}, train: {checkpointEverySteps: 3, threads: 1}}`;
  return parseConfig(text, { file: 'run.yaml', overrides: [], schema: runSchema }).config;
}

const pageOf = (config: RunConfig): string => join(config.output, 'report.html');

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'lmvec-report-'));
  const texts = Array.from({ length: 30 }, (_, i) => `${SENTENCES[i % 6]!} ${i}`);
  await writeFile(join(base, 'texts.txt'), `${texts.join('\n')}\n`);
  await writeFile(join(base, 'pairs <b>&.tsv'), `${pairs.join('\n')}\n`);
  run = configOf('run');
  const progress: Progress = {
    update: ({ stage, step }) => void pages.set(`${stage} ${step}`, readFileSync(pageOf(run), 'utf8')),
    message: () => undefined,
    end: () => undefined,
  };
  expect((await train(run, { progress })).status).toBe('finished');
});
afterAll(() => rm(base, { recursive: true, force: true }));

const dotsOf = (page: string): number => page.match(/<circle /g)?.length ?? 0;

describe('report.html', () => {
  it('is there from the first evaluation on, whole, and has one more point after each', () => {
    expect(pages.size).toBe(12);
    for (const page of pages.values()) {
      expect(page.startsWith('<!doctype html>')).toBe(true);
      expect(page.endsWith('</html>\n')).toBe(true);
      expect(page).toContain(', running, started ');
    }
    expect(
      ['mntp 1', 'mntp 2', 'mntp 3', 'mntp 5', 'simcse 1', 'simcse 6'].map((at) => dotsOf(pages.get(at)!)),
    ).toEqual([1, 1, 2, 3, 4, 6]);
  });

  it('at the end has scores with baselines, curves of both stages, histograms before and after, configuration and timing', async () => {
    const page = await readFile(pageOf(run), 'utf8');
    expect(dotsOf(page)).toBe(7);
    expect(page).toContain(', finished, started ');
    for (const cell of ['bag of words', 'tf-idf', 'before training', 'best'])
      expect(page).toMatch(new RegExp(`<td>${cell}</td>`));
    for (const title of ['Loss of mntp', 'Loss of simcse', 'Cosine Spearman x 100'])
      expect(page).toContain(`aria-label="${title}"`);
    expect(page.match(/aria-label="[^"]*, (before training|best)"/g)).toHaveLength(2);
    expect(page).toContain('rank: 2');
    expect(page).toMatch(
      /<dt>stage simcse<\/dt><dd>6 steps in [\d:]+ \([\d.]+ s each\), \d+ tokens\/s<\/dd>/,
    );
    expect(page).toMatch(/<dt>processor<\/dt><dd>.*cores/);
    // Each number once: the file's own name must not have become an element.
    expect(page).not.toContain('pairs <b>');
    expect(page).toContain('pairs &lt;b&gt;&amp;');
  });

  it('needs nothing else and runs nothing', async () => {
    const page = await readFile(pageOf(run), 'utf8');
    expect(page).not.toMatch(/<script|<img|@import|url\(|src=| on[a-z]+=/i);
    expect([...page.matchAll(/(?:href|xmlns)="([^"]*)"/g)].map(([, target]) => target)).toSatisfy(
      (targets: string[]) =>
        targets.every((target) => ['data:,', 'http://www.w3.org/2000/svg'].includes(target)),
    );
  });

  it('of an interrupted run says so, and goes on with it', async () => {
    const config = configOf('interrupted');
    const controller = new AbortController();
    const progress: Progress = {
      update: ({ step }) => (step === 3 ? controller.abort() : undefined),
      message: () => undefined,
      end: () => undefined,
    };
    expect((await train(config, { progress, signal: controller.signal })).status).toBe('interrupted');
    expect(await readFile(pageOf(config), 'utf8')).toContain(', interrupted, started ');
    await resume(config.output, { progress: { ...progress, update: () => undefined } });
    const page = await readFile(pageOf(config), 'utf8');
    expect(page).toContain('<dt>resumed</dt>');
    expect(dotsOf(page)).toBe(7);
    expect((await readdir(config.output)).filter((name) => name.startsWith('.'))).toEqual([]);
  });
});

const chromium = chromiumPath();
if (chromium === undefined)
  console.warn('no Chromium (CHROMIUM_PATH, /usr/bin/chromium): the page is not looked at in a browser');

describe.skipIf(chromium === undefined)('report.html in a browser', () => {
  it('shows its curves, complains of nothing and asks for nothing', async () => {
    const url = pathToFileURL(pageOf(run)).href;
    const expression = `[...document.querySelectorAll('svg')].map((svg) => {
      const frame = svg.getBoundingClientRect();
      const marks = [...svg.querySelectorAll('polyline, rect')].map((mark) => mark.getBoundingClientRect());
      return {
        label: svg.getAttribute('aria-label'),
        marks: marks.length,
        visible: marks.every(({ width, height }) => width > 0 && height >= 0),
        inside: marks.every((mark) => mark.left >= frame.left && mark.right <= frame.right + 1 && mark.top >= frame.top && mark.bottom <= frame.bottom + 1),
      };
    })`;
    const { png, value, complaints, requests } = await lookAt(chromium!, url, expression);
    expect(complaints).toEqual([]);
    expect(requests.filter((request) => request !== 'data:,')).toEqual([url]);
    const charts = value as { label: string; marks: number; visible: boolean; inside: boolean }[];
    expect(charts).toHaveLength(5);
    for (const chart of charts) expect(chart).toMatchObject({ visible: true, inside: true });
    expect(charts.slice(0, 3).map(({ label, marks }) => [label, marks])).toEqual([
      ['Cosine Spearman x 100', 1],
      ['Loss of mntp', 2],
      ['Loss of simcse', 2],
    ]);
    const { width, colours } = pixelsOf(png);
    expect(width).toBeGreaterThan(700);
    // The curves' own colours are on the picture, where a line's pixel is not shared: evaluation, smoothed losses, single steps.
    for (const colour of ['#0b6e99', '#c2410c', '#9ca3af'])
      expect(colours.get(colour) ?? 0).toBeGreaterThan(10);
  });
});
