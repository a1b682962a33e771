import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdir, mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readTexts, textSources } from '../../../src/data/texts.js';
import { lastingBase, openDecoder, writeAdapter } from '../../../src/models/weights/index.js';
import { loadEmbeddingModel } from '../../../src/pooling/load-model.js';
import { downloadData } from '../../../src/shared/hub/data.js';
import { isInside, parseHubData, parseHubModel } from '../../../src/shared/hub/ids.js';
import { downloadModel } from '../../../src/shared/hub/model.js';
import { hubOptions, type HubOptions } from '../../../src/shared/hub/options.js';
import { entryOf, sha, startHub, type Fault, type HubServer } from './hub-server.js';

const weights = randomBytes(300_000);
const model = {
  'config.json': '{"a": 1}',
  'tokenizer.json': '{}',
  'model.safetensors': weights,
  'modeling.py': 'import os',
  'pytorch_model.bin': 'pickle',
};
let cache = '';
let said: string[] = [];
let server: HubServer | undefined;

beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'lmvec-hub-'));
  said = [];
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  await rm(cache, { recursive: true, force: true });
});

const id = { type: 'model', name: 'org/name' } as const;
const options = (other: Partial<HubOptions> = {}): HubOptions => ({
  endpoint: server?.endpoint ?? 'http://127.0.0.1:1',
  cache,
  offline: false,
  retryMilliseconds: 1,
  stallMilliseconds: 20_000,
  say: (line) => void said.push(line),
  ...other,
});
const blobs = (): string => join(cache, 'models--org--name', 'blobs');
const withFaults = async (...faults: Fault[]): Promise<HubServer> => {
  server = await startHub(model);
  server.faults.set('model.safetensors', faults);
  return server;
};

describe('a model of the hub', () => {
  it('is brought into the cache of Python tools, only what can be opened, once', async () => {
    server = await startHub(model);
    const folder = await downloadModel(id, options());
    expect(folder).toBe(join(cache, 'models--org--name/snapshots', sha));
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    expect(existsSync(join(folder, 'modeling.py')) || existsSync(join(folder, 'pytorch_model.bin'))).toBe(
      false,
    );
    expect(await readlink(join(folder, 'config.json'))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/);
    expect(await readFile(join(cache, 'models--org--name/refs/main'), 'utf8')).toBe(sha);
    expect(said).toHaveLength(3);
    const before = server.requests.length;
    await downloadModel(id, options());
    expect(server.requests.slice(before).filter((line) => line.includes('/resolve/'))).toEqual([]);
  });

  it('offline, or with an unreachable hub, is the one in the cache', async () => {
    server = await startHub(model);
    const folder = await downloadModel(id, options());
    expect(await downloadModel(id, options({ offline: true, endpoint: 'http://127.0.0.1:1' }))).toBe(folder);
    said = [];
    expect(await downloadModel(id, options({ endpoint: 'http://127.0.0.1:1' }))).toBe(folder);
    expect(said).toEqual([
      expect.stringMatching(
        /^org\/name: http:\/\/127\.0\.0\.1:1 cannot be reached .*; the cached copy is used$/,
      ),
    ]);
    const other = { ...id, name: 'org/other' };
    await expect(downloadModel(other, options({ offline: true }))).rejects.toThrow(
      /org\/other is neither here nor in the cache: got HF_HUB_OFFLINE is set/,
    );
    await expect(downloadModel(other, options())).rejects.toThrow(
      /there is no model org\/other: got status 404/,
    );
  });

  it('is told apart: GGUF files, no weights at all', async () => {
    server = await startHub({ 'a.Q4_0.gguf': 'GGUF', 'b.gguf': 'GGUF' });
    await expect(downloadModel(id, options())).rejects.toThrow(
      'which of the GGUF files?: got a.Q4_0.gguf, b.gguf (name it: hf://org/name/a.Q4_0.gguf)',
    );
    const path = await downloadModel({ ...id, path: 'b.gguf' }, options());
    expect(await readFile(path, 'utf8')).toBe('GGUF');
    await expect(downloadModel({ ...id, path: 'c.gguf' }, options())).rejects.toThrow(/no file c\.gguf/);
    await server.close();
    server = await startHub({ 'README.md': 'x' });
    await expect(downloadModel(id, options({ cache: join(cache, 'x') }))).rejects.toThrow(
      /this model has no safetensors: got README\.md/,
    );
    await server.close();
    // An embedder folder of ours may be its graphs alone.
    server = await startHub({ 'lmvec.json': '{}', 'onnx/model.onnx': 'x' });
    const graphs = await downloadModel(id, options({ cache: join(cache, 'y') }));
    expect(existsSync(join(graphs, 'onnx/model.onnx'))).toBe(true);
  });

  it('opens by its id, and a wrong path is no id', async () => {
    const golden = join(import.meta.dirname, '../../golden/llama/base');
    const names = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'];
    server = await startHub(
      Object.fromEntries(names.map((name) => [name, readFileSync(join(golden, name))])),
    );
    const environment = { ...process.env };
    try {
      Object.assign(process.env, { HF_ENDPOINT: server.endpoint, HF_HUB_CACHE: cache });
      const source = await openDecoder(`org/name@${sha}`);
      expect(source.weights.names.length).toBeGreaterThan(10);
      await source.weights.close();
      const adapter = join(cache, 'adapter');
      const stem = 'model.layers.0.self_attn.q_proj.lora_';
      const tensors = new Map([
        [`${stem}A.weight`, new Float32Array(24)],
        [`${stem}B.weight`, new Float32Array(24)],
      ]);
      const lora = { rank: 1, alpha: 1, dropout: 0, targetModules: ['q_proj'], tensors };
      await writeAdapter(adapter, { ...lora, baseModel: 'org/name', revision: sha });
      expect(await lastingBase(adapter)).toBe(`org/name@${sha}`);
      await (await openDecoder(adapter)).weights.close();
      const before = server.requests.length;
      await expect(openDecoder('src/nothing')).rejects.toThrow(/src\/nothing: model not found/);
      expect(server.requests).toHaveLength(before);
    } finally {
      process.env = environment;
    }
  });
});

describe('a folder of sentence-transformers on the hub', () => {
  it('brings what says how it embeds', async () => {
    const released = join(import.meta.dirname, '../../golden/released/bert');
    const names = readdirSync(released, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(released, join(entry.parentPath, entry.name)));
    server = await startHub({
      ...Object.fromEntries(names.map((name) => [name, readFileSync(join(released, name))])),
      // What no embedder of ours opens stays there.
      '2_Dense/pytorch_model.bin': 'pickle',
      'openvino/model.bin': 'other',
      '1_Pooling/run.py': 'import os',
    });
    const folder = await downloadModel(id, options());
    const local = await loadEmbeddingModel(released);
    const fetched = await loadEmbeddingModel(folder);
    expect(fetched.recipe).toEqual(local.recipe);
    expect(fetched.recipe.pooling.type).toBe('first');
    expect(fetched.poolingParameters).toEqual(local.poolingParameters);
    const brought = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    expect(brought.filter((name) => /\.(bin|py)$/.test(name))).toEqual([]);
  });
});

describe('connections that fail', () => {
  it('a dropped one is gone on with, as often as it brings bytes', async () => {
    // Between two drops there is one that brings all that was written before it, however slow this machine is.
    const drops = [1, 2, 3].flatMap((): Fault[] => [
      { kind: 'drop', after: 30_000 },
      { kind: 'stall', after: 30_000 },
    ]);
    const hub = await withFaults(...drops);
    const folder = await downloadModel(id, options({ stallMilliseconds: 500 }));
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    const starts = hub.requests
      .filter((line) => line.includes('model.safetensors'))
      .map((line) => Number(/bytes=(\d+)-/.exec(line)?.[1] ?? 0));
    expect(starts).toHaveLength(7);
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
    expect(starts.at(-1)).toBeGreaterThanOrEqual(90_000);
  });

  it('what an earlier call left is gone on with, and from scratch where it does not fit', async () => {
    await withFaults();
    const { lfs } = entryOf('model.safetensors', weights) as { lfs: { oid: string } };
    const partial = join(blobs(), `${lfs.oid}.incomplete`);
    await mkdir(blobs(), { recursive: true });
    await writeFile(partial, weights.subarray(0, 123_456));
    let folder = await downloadModel(id, options());
    expect(server!.requests.some((line) => line.includes('bytes=123456-'))).toBe(true);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    await rm(cache, { recursive: true });
    await mkdir(blobs(), { recursive: true });
    await writeFile(partial, Buffer.alloc(200_000));
    folder = await downloadModel(id, options());
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('a server that ignores ranges, is busy, or stalls', async () => {
    await withFaults({ kind: 'drop', after: 1000 }, { kind: 'ignoreRange' }, { kind: 'status', status: 503 });
    let folder = await downloadModel(id, options());
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    await server!.close();
    await rm(cache, { recursive: true });
    await withFaults({ kind: 'stall', after: 1000 });
    folder = await downloadModel(id, options({ stallMilliseconds: 200 }));
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('one that is never there is one sentence, and keeps what it has', async () => {
    await withFaults(
      { kind: 'stall', after: 5000 },
      ...Array.from({ length: 20 }, (): Fault => ({ kind: 'status', status: 500 })),
    );
    await expect(downloadModel(id, options({ stallMilliseconds: 500 }))).rejects.toThrow(
      /the download was interrupted again and again: got 5000 of 300000 bytes: status 500/,
    );
  });
});

describe('a hub that lies', () => {
  it.each<[string, Fault]>([
    ['other bytes', { kind: 'bytes', content: randomBytes(300_000) }],
    ['too many', { kind: 'bytes', content: randomBytes(900_000) }],
  ])('%s: refused, and nothing is kept', async (_, fault) => {
    await withFaults(...Array.from({ length: 9 }, () => fault));
    await expect(downloadModel(id, options())).rejects.toThrow(
      /the hub sends other bytes than it has promised/,
    );
    expect(existsSync(join(cache, 'models--org--name/snapshots', sha, 'model.safetensors'))).toBe(false);
  });

  it('too few bytes', async () => {
    await withFaults(
      ...Array.from({ length: 9 }, (): Fault => ({ kind: 'bytes', content: weights.subarray(0, 1000) })),
    );
    await expect(downloadModel(id, options())).rejects.toThrow(
      /interrupted again and again: got 1000 of 300000 bytes/,
    );
  });

  it.each([
    ['../../escape.json', /the file name "\.\.\/\.\.\/escape\.json"/],
    ['/etc/config.json', /the file name/],
    ['C:\\config.json', /the file name/],
  ])('a file named %s', async (path, message) => {
    server = await startHub(model, (honest) => [...honest, { ...honest[0], path }]);
    await expect(downloadModel(id, options())).rejects.toThrow(message);
  });

  it.each([{ size: -1 }, { size: 1e300 }, { oid: '../../x' }, { size: '5' }])(
    'an entry with %j',
    async (lie) => {
      server = await startHub(model, (honest) => [{ ...honest[0], ...lie }]);
      await expect(downloadModel(id, options())).rejects.toThrow(
        /the hub's answer about org\/name is broken/,
      );
    },
  );

  it('no list at all, and one without end', async () => {
    server = await startHub(model, () => ({ not: 'a list' }));
    await expect(downloadModel(id, options())).rejects.toThrow();
    await server.close();
    server = await startHub(model, () => 'x'.repeat(70_000_000));
    await expect(downloadModel(id, options())).rejects.toThrow(/the hub answers with too much/);
  });

  it('a list of pages without end', async () => {
    let pages = 0;
    const endless = createServer((request, response) => {
      const tree = request.url?.includes('/tree/') === true;
      pages += tree ? 1 : 0;
      const next = `<http://${request.headers.host ?? ''}${request.url ?? ''}>; rel="next"`;
      response.writeHead(200, { 'content-type': 'application/json', ...(tree ? { link: next } : {}) });
      const info = { id: 'org/name', _id: 'x', sha, private: false, downloads: 1, likes: 0, gated: false };
      response.end(JSON.stringify(tree ? [] : { ...info, lastModified: '2026-01-01T00:00:00.000Z' }));
    });
    await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve));
    try {
      const endpoint = `http://127.0.0.1:${String((endless.address() as AddressInfo).port)}`;
      await expect(downloadModel(id, options({ endpoint }))).rejects.toThrow(
        "the hub's answer about org/name is broken: got more than 200 pages",
      );
      expect(pages).toBe(200);
    } finally {
      endless.closeAllConnections();
      endless.close();
    }
  });

  it('redirects: to where the token does not go, in a circle, to a file', async () => {
    const elsewhere = await startHub(model);
    try {
      const hub = await withFaults({ kind: 'redirect', to: `${elsewhere.endpoint}/elsewhere` });
      const folder = await downloadModel(id, options({ token: 'hf_secret' }));
      expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
      expect(elsewhere.requests).toEqual(['/elsewhere - -']);
      expect(hub.requests.every((line) => line.endsWith('Bearer hf_secret'))).toBe(true);
      await hub.close();
      await rm(cache, { recursive: true });
      const circle: Fault = { kind: 'redirect', to: `/org/name/resolve/${sha}/model.safetensors` };
      await withFaults(...Array.from({ length: 20 }, () => circle));
      await expect(downloadModel(id, options())).rejects.toThrow(/the hub redirects to where one cannot go/);
      await server!.close();
      await withFaults({ kind: 'redirect', to: 'file:///etc/passwd' });
      await expect(downloadModel(id, options())).rejects.toThrow(
        /redirects to where one cannot go: got file:\/\/\/etc\/passwd/,
      );
    } finally {
      await elsewhere.close();
    }
  });

  it('a gated model says what to do', async () => {
    await withFaults({ kind: 'status', status: 403 });
    await expect(downloadModel(id, options())).rejects.toThrow(
      /got status 403 \(it may be private or gated: .* HF_TOKEN\)/,
    );
  });
});

describe('a data set of the hub', () => {
  const files = {
    'data/train-00000.jsonl': '{"text": "one"}\n',
    'data/test.jsonl': '{"text": "two"}\n',
    'README.md': '',
    'dataset_infos.json': '{}',
  };

  it('gives its training files, or those that are named', async () => {
    server = await startHub(files);
    const data = { type: 'dataset', name: 'org/name' } as const;
    const isData = (path: string): boolean => path.endsWith('.jsonl');
    const [train] = await downloadData(data, isData, options());
    expect(train).toMatch(/datasets--org--name\/snapshots\/\w+\/data\/train-00000\.jsonl$/);
    expect(await downloadData({ ...data, path: 'data' }, isData, options())).toHaveLength(2);
    await expect(downloadData({ ...data, path: 'none' }, isData, options())).rejects.toThrow(
      /nothing to read at none/,
    );
    const offline = await downloadData(
      { ...data, path: 'data/test.jsonl' },
      isData,
      options({ offline: true }),
    );
    expect(offline).toHaveLength(1);
  });

  it('is training data by its id', async () => {
    server = await startHub(files);
    const environment = { ...process.env };
    try {
      Object.assign(process.env, { HF_ENDPOINT: server.endpoint, HF_HUB_CACHE: cache });
      expect([...(await readTexts(await textSources('org/name'))).texts]).toEqual(['one']);
      expect([
        ...(await readTexts(await textSources('hf://datasets/org/name/data/test.jsonl'))).texts,
      ]).toEqual(['two']);
    } finally {
      process.env = environment;
    }
  });
});

describe('ids and options', () => {
  it('ids', () => {
    expect(parseHubModel('org/na.me')).toEqual({ type: 'model', name: 'org/na.me' });
    expect(parseHubModel('org/name@v1.0')).toEqual({ type: 'model', name: 'org/name', revision: 'v1.0' });
    expect(parseHubModel('hf://org/name@x/a/b.gguf')).toEqual({
      type: 'model',
      name: 'org/name',
      revision: 'x',
      path: 'a/b.gguf',
    });
    expect(parseHubData('hf://datasets/org/name/data/')).toEqual({
      type: 'dataset',
      name: 'org/name',
      path: 'data',
    });
    for (const text of ['name', 'a/b/c', '../x', 'a/..', './a', '/a/b', 'a/b@../c'])
      expect(parseHubModel(text)).toBeUndefined();
    for (const text of ['hf://x', 'hf://org/name/../x', 'hf://datasets/org/name'])
      expect(() => parseHubModel(text)).toThrow(/not the address of a model/);
    expect(['a', 'a/b', 'a/../b', '..', '', 'a//b', 'a\\b', 'c:x', 'a\nb'].map(isInside)).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
      false,
      false,
      false,
    ]);
  });

  it('options come from the variables of huggingface_hub', () => {
    expect(
      hubOptions({ HF_HOME: '/h', HF_TOKEN: 'hf_x', HF_ENDPOINT: 'http://e/', HF_HUB_OFFLINE: '1' }),
    ).toMatchObject({ cache: '/h/hub', token: 'hf_x', endpoint: 'http://e', offline: true });
    expect(hubOptions({ XDG_CACHE_HOME: '/c', HF_TOKEN: '' })).toMatchObject({
      cache: '/c/huggingface/hub',
      endpoint: 'https://huggingface.co',
      offline: false,
    });
    expect(hubOptions({ HF_TOKEN: '' }).token).toBeUndefined();
  });
});
