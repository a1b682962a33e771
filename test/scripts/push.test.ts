import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { exportEmbedder } from '../../src/recipes/export.js';
import { startPushServer, writer, type PushServer } from '../shared/hub/push-server.js';
import { lmvec, root } from './command.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let cwd = '';
let server: PushServer;
const environment = { ...process.env };

beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'lmvec-push-'));
  await mkdir(join(cwd, 'run'));
  await exportEmbedder({ model: join(root, 'test/golden/llama/base'), output: join(cwd, 'run/embedder') });
  server = await startPushServer();
  Object.assign(process.env, { HF_ENDPOINT: server.endpoint, HF_HOME: cwd, HF_TOKEN: writer });
});
afterAll(async () => {
  process.env = environment;
  await server.close();
  await rm(cwd, { recursive: true, force: true });
});

it('lmvec push uploads the embedder of a run folder, whole', async () => {
  const { status, stderr } = await lmvec(['push', '--model', 'run', '--repo', 'org/name', '--private'], {
    cwd,
  });
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expect(stderr).toContain(`${server.endpoint}/org/name: `);
  const repository = server.repositories.get('org/name');
  expect(repository?.private).toBe(true);
  const folder = join(cwd, 'run/embedder');
  let compared = 0;
  for (const path of await readdir(folder, { recursive: true })) {
    if ((await stat(join(folder, path))).isDirectory()) continue;
    expect(repository?.files.get(path)?.equals(await readFile(join(folder, path))), path).toBe(true);
    compared++;
  }
  expect(compared).toBe(repository?.files.size);
  expect([...(repository?.files.keys() ?? [])]).toEqual(
    expect.arrayContaining(['lmvec.json', 'onnx/model.onnx']),
  );
});

it('lmvec push says in one sentence what is wrong', async () => {
  const cases: [string[], RegExp][] = [
    [
      ['--model', 'run', '--repo', 'name'],
      /^--repo: no repository of the hub: got name, expected owner\/name\n$/,
    ],
    [['--model', 'nothing', '--repo', 'org/name'], /^nothing: model not found: .*\n$/],
    [['--model', join(root, 'test/golden/llama/base'), '--repo', 'org/name'], /no embedder to push: .*\n$/],
    [
      ['--model', 'run', '--repo', 'org/name', '--token', 'hf_x'],
      /^org\/name: the hub does not accept the token: got status 401.*\n$/,
    ],
  ];
  for (const [words, sentence] of cases) {
    const { status, stderr } = await lmvec(['push', ...words], { cwd });
    expect(stderr).toMatch(sentence);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(status).toBe(2);
  }
});
