import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { parseMemorySize } from '../src/config/sizes.js';
import { caseNames, configOf, titleOf, type CasePlace } from './memory/cases.js';
import { measureRun, type MemoryReport } from './memory/measure.js';
import { nodeCommand, ownEnvironment, runSide } from './processes.js';

/**
 * Runs of the product, each in a process of its own: what it was told to take, expected to take, and took at its peak, from the first line of
 * the model's file to the last of the exported one. The last lines on standard output are the table as Markdown.
 */
async function main(): Promise<void> {
  const settings = await yargs(hideBin(process.argv))
    .option('model', { type: 'string', describe: 'decoder: a GGUF file or a Hugging Face folder' })
    .option('data', { type: 'string', describe: 'folder with corpus/, STSb/ and SNLI/' })
    .option('only', {
      type: 'string',
      describe: `some of ${caseNames.join(', ')}; stored-* is all that begin so`,
    })
    .option('steps', { type: 'number', default: 3 })
    .option('layer', { type: 'number', describe: 'pool this layer, so that only the blocks below it run' })
    .option('memoryLimit', {
      type: 'number',
      default: 16,
      describe: 'gigabytes above which a run is stopped',
    })
    .option('output', {
      type: 'string',
      describe: 'keeps the results as JSON; what it holds is not measured again',
    })
    .option('run', { type: 'string', hidden: true })
    .strict()
    .parseAsync();
  if (settings.run !== undefined) {
    console.log(JSON.stringify(await measureRun(settings.run)));
    return;
  }
  const { model, data, output, steps, layer } = settings;
  if (model === undefined || data === undefined) throw new Error('--model and --data are needed');
  const rows = output === undefined ? {} : await rowsBefore(output);
  const chosen = chosenCases(settings.only);
  for (const name of chosen) {
    if (rows[name] !== undefined) continue;
    const folder = await mkdtemp(join(tmpdir(), 'lmvec-bench-memory-'));
    try {
      const place = { model: resolve(model), data: resolve(data), output: folder, steps, layer };
      const row = await measure(name, place, settings.memoryLimit);
      rows[name] = row;
      console.error(rowOf(name, row), JSON.stringify({ phases: row.phases, expected: row.parts }));
      if (output !== undefined) await writeFile(output, JSON.stringify(rows, undefined, 1));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  console.log(
    '| run | train.memory | plan | estimate GB | peak GB | estimate / peak | peak / setting | step s |\n|---|---:|---|---:|---:|---:|---:|---:|',
  );
  for (const name of chosen) if (rows[name] !== undefined) console.log(rowOf(name, rows[name]));
}

type Row = MemoryReport & { /** Bytes. */ readonly setting: number | undefined };

function chosenCases(only: string | undefined): readonly string[] {
  if (only === undefined) return caseNames;
  return only.split(',').flatMap((word) => {
    const found = caseNames.filter((name) =>
      word.endsWith('*') ? name.startsWith(word.slice(0, -1)) : name === word,
    );
    if (found.length === 0) throw new Error(`no case ${word}; there are ${caseNames.join(', ')}`);
    return found;
  });
}

async function rowsBefore(path: string): Promise<Record<string, Row>> {
  const text = await readFile(path, 'utf8').catch(() => '{}');
  return JSON.parse(text) as Record<string, Row>;
}

async function measure(name: string, place: CasePlace, memoryLimitGb: number): Promise<Row> {
  await mkdir(place.output, { recursive: true });
  await writeLongTexts(place);
  const path = join(place.output, 'run.yaml');
  const config = configOf(name, place);
  await writeFile(path, JSON.stringify(config));
  const { command, arguments: words } = nodeCommand(import.meta.url, './memory');
  const outcome = await runSide({
    label: 'memory',
    command,
    arguments: [...words, '--run', path],
    environment: ownEnvironment,
    memoryLimitGb,
  });
  if (outcome.status !== 'done') throw new Error(`${name}: ${JSON.stringify(outcome)}`);
  const { memory } = (config as { train: { memory?: string } }).train;
  return {
    ...(outcome.report as unknown as MemoryReport),
    setting: memory === undefined ? undefined : parseMemorySize(memory),
  };
}

/** Texts of about 300 to 600 tokens: consecutive sentences of a corpus, 12 to 24 of them. */
async function writeLongTexts({ data, output }: CasePlace): Promise<void> {
  const sentences = (await readFile(join(data, 'corpus', 'wikisplit.txt'), 'utf8')).split('\n');
  const texts: string[] = [];
  for (let first = 0; first < Math.min(20_000, sentences.length);) {
    const count = 12 + (texts.length % 13);
    texts.push(sentences.slice(first, first + count).join(' '));
    first += count;
  }
  await writeFile(join(output, 'long.txt'), texts.join('\n'));
}

function rowOf(name: string, row: Row): string {
  const { setting, savePolicy, weightCopies, estimateGb, peakRssGb, secondsOfSteps } = row;
  // 1 MB or 1 TB only picks the number of copies.
  const real = setting !== undefined && setting >= 1e8 && setting < 1e11 ? setting / 1e9 : undefined;
  const last = secondsOfSteps.at(-1) ?? NaN;
  const cells = [
    titleOf(name),
    real === undefined ? '' : `${real} GB`,
    `${savePolicy} x ${weightCopies}${row.warning === undefined ? '' : ', warned'}`,
    estimateGb.toFixed(2),
    peakRssGb.toFixed(2),
    (estimateGb / peakRssGb).toFixed(2),
    real === undefined ? '' : (peakRssGb / real).toFixed(2),
    last.toFixed(1),
  ];
  return `| ${cells.join(' | ')} |`;
}

await main();
