import { cp, mkdir, mkdtemp, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { loadConfig } from '../src/config/load.js';
import { runSchema } from '../src/recipes/schema.js';
import { jsonRows, lmvec, npyRows, root, runScript, type CommandResult } from './scripts/command.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const readme = await readFile(join(root, 'README.md'), 'utf8');
const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
  readonly scripts: Readonly<Record<string, string>>;
};
const cwd = await mkdtemp(join(tmpdir(), 'lmvec-readme-'));

/** Fewer and smaller steps than the README asks for, so that a run takes seconds; by recipe. */
function shrunk(config: string | undefined): readonly string[] {
  if (config === undefined) return [];
  const few = (stage: string, texts: number): string[] => [
    `stages.${stage}.maxSteps=1`,
    `stages.${stage}.batchTexts=${texts}`,
    `stages.${stage}.warmupSteps=0`,
  ];
  return config.includes('nv-embed')
    ? [...few('retrieval', 4), ...few('blend', 4), 'evaluate.everyNthRow=20']
    : [...few('mntp', 2), ...few('simcse', 4), 'data.train=corpus.txt', 'evaluate.everyNthRow=20'];
}

/** The commands of the sh blocks, without comments, one each. */
function commandsOf(text: string): string[] {
  return [...text.matchAll(/^```sh\n(.*?)^```/gms)]
    .flatMap(([, block = '']) => block.split('\n'))
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '')
    .flatMap((line) => line.split(' && '));
}

/** The words of an lmvec command; the README quotes nothing. */
function wordsOf(command: string): string[] {
  const words = command.split(/\s+/);
  const start = words.indexOf('lmvec');
  return start < 0 ? [] : words.slice(start + 1);
}

const all = commandsOf(readme);
const shown = commandsOf(/^## What it does\n(.*?)^## /ms.exec(`${readme}\n## `)?.[1] ?? '').filter(
  (command) => command.startsWith('npx lmvec '),
);

/** What the README's paths stand for, small and real. */
beforeAll(async () => {
  const pairs = join(root, 'assets/wordnet-sts/test.tsv');
  const texts = Array.from(
    { length: 40 },
    (_, i) => `the cat ${i} sat on ${'that mat and '.repeat(i % 4)}end`,
  );
  await symlink(join(root, 'configs'), join(cwd, 'configs'));
  await writeFile(join(cwd, 'corpus.txt'), `${texts.join('\n')}\n`);
  await writeFile(join(cwd, 'sentences.txt'), 'A man plays a guitar.\nSomeone is making music.\n');
  const rows = texts.slice(1).map((text, i) => `${text}\tthe cat that sat there is number ${i + 1}`);
  await writeFile(join(cwd, 'pairs.tsv'), `query\tpositive\n${rows.join('\n')}\n`);
  await mkdir(join(cwd, 'path/to'), { recursive: true });
  await cp(join(root, 'test/golden/gguf/llama.gguf'), join(cwd, 'path/to/model.gguf'));
  for (const set of ['STSb', 'STS15']) await put(pairs, `path/to/sets/${set}/test.tsv`);
});

async function put(from: string, to: string): Promise<void> {
  await mkdir(dirname(join(cwd, to)), { recursive: true });
  await cp(from, join(cwd, to), { recursive: true });
}

describe('every command of the README', () => {
  it('is one that exists', async () => {
    expect(all.length).toBeGreaterThan(8);
    for (const command of all) {
      const bare = command.replace(/^([A-Z_]+=\S+ +)+/, '');
      const [program, verb, name] = bare.split(/\s+/);
      if (program === 'npm') {
        if (verb === 'run') expect(Object.keys(scripts), command).toContain(name);
        else if (verb === 'test') expect(scripts['test']).toBeDefined();
        else expect(['ci', 'install'], command).toContain(verb);
      } else if (program === 'git') expect(verb).toBe('clone');
      else if (program !== 'cd') expect([program, verb], command).toEqual(['npx', 'lmvec']);
    }
    expect(scripts['quickstart']).toContain('lmvec.js train --config configs/quickstart.yaml --overwrite');
    await loadConfig(join(root, 'configs/quickstart.yaml'), [], runSchema);
  });

  it('has options that exist, and overrides that its recipe takes', async () => {
    const help = new Map<string, string>();
    for (const command of all) {
      const [verb, ...words] = wordsOf(command);
      if (verb === undefined) continue;
      if (!help.has(verb)) help.set(verb, (await lmvec([verb, '--help'], { cwd })).stdout);
      for (const word of words.filter((each) => each.startsWith('--')))
        expect(help.get(verb), command).toContain(` ${word} `);
      const config = words[words.indexOf('--config') + 1] ?? '';
      if (verb === 'train' && words.includes('--config'))
        await loadConfig(
          join(root, config),
          words.filter((word) => /^[\w.]+=/.test(word)),
          runSchema,
        );
    }
  });
});

describe('what the README shows', () => {
  const results = new Map<string, CommandResult>();
  beforeAll(async () => {
    for (const command of shown) {
      const words = wordsOf(command);
      const config = words.includes('--config') ? words[words.indexOf('--config') + 1] : undefined;
      // A server gets a port that is free, and ends when it is told to.
      const more = words[0] === 'serve' ? ['--port=0'] : shrunk(config);
      const given = words[0] === 'serve' ? words.filter((word) => !['--port', '8080'].includes(word)) : words;
      let told = false;
      const onError = (soFar: string, kill: (signal: NodeJS.Signals) => void): void => {
        if (told || !soFar.includes('is served at')) return;
        told = true;
        kill('SIGTERM');
      };
      results.set(command, await lmvec([...given, ...more], { cwd, onError }));
    }
  });
  const result = (...parts: string[]): CommandResult => {
    const command = shown.find((each) => parts.every((part) => each.includes(part)));
    return (
      results.get(command ?? '') ?? {
        status: null,
        stdout: '',
        stderr: 'not in the README',
        bytes: Buffer.of(),
      }
    );
  };

  it.each(shown)('%s', (command) => {
    expect(results.get(command)).toMatchObject({ status: 0 });
  });

  it('does what it says', async () => {
    expect(result('train', 'model.gguf').stdout).toContain('best against before training: ');
    expect(result('--dry-run').stdout).toContain('first batch:');
    expect(result('--resume').stderr).toContain('nothing to resume');
    expect(result('evaluate').stdout).toMatch(/ STS15 +STSb +average\n/);
    expect(result('inspect').stdout).toContain('passed: true');
    expect(jsonRows(await readFile(join(cwd, 'vectors.jsonl'), 'utf8'))).toHaveLength(2);
    expect(npyRows(await readFile(join(cwd, 'vectors.npy')))).toHaveLength(2);
  });

  it('the example of the library runs', async () => {
    const [, example = ''] = /^```ts\n(.*?)^```/ms.exec(readme) ?? [];
    expect(example).toContain("from 'lmvec'");
    await put(join(cwd, 'runs/x/embedder'), 'runs/quickstart/embedder');
    const index = pathToFileURL(join(root, 'src/index.ts')).href;
    // As JavaScript: every name that the example imports has to be there, used or not.
    const file = join(cwd, 'example.mjs');
    await writeFile(file, example.replace("from 'lmvec'", `from '${index}'`));
    const { status, stdout, stderr } = await runScript(file, [], { cwd });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/Float32Array\(4\)/);
    expect(status).toBe(0);
  });
});
