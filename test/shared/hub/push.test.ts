import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HubOptions } from '../../../src/shared/hub/options.js';
import { pushFolder } from '../../../src/shared/hub/push.js';
import { reader, startPushServer, writer, type PushServer } from './push-server.js';

const files: Readonly<Record<string, Buffer>> = {
  'README.md': Buffer.from('# an embedder\n'),
  'lmvec.json': Buffer.from('{"a": "ä"}'),
  '1_Pooling/config.json': Buffer.from('{}'),
  'onnx/model.onnx': randomBytes(3_000_000),
  'model.safetensors': randomBytes(1_000_001),
};
let folder = '';
let said: string[] = [];
let server: PushServer;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-push-'));
  for (const [path, bytes] of Object.entries({ ...files, '.x.0a.tmp/model.onnx': Buffer.from('left') })) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), bytes);
  }
  said = [];
  server = await startPushServer();
});
afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

const push = (
  other: Partial<HubOptions> = {},
  { repository = 'org/name', hidden = false } = {},
): ReturnType<typeof pushFolder> =>
  pushFolder(
    { folder, repository, private: hidden, title: 'x' },
    {
      endpoint: server.endpoint,
      token: writer,
      cache: '/nowhere',
      offline: false,
      retryMilliseconds: 1,
      stallMilliseconds: 20_000,
      say: (line) => void said.push(line),
      ...other,
    },
  );
/** By their hashes: megabytes are slow to compare as lists of numbers. */
const hashes = (all: Iterable<readonly [string, Buffer]>): Record<string, string> =>
  Object.fromEntries(
    [...all].map(([path, bytes]) => [path, createHash('sha256').update(bytes).digest('hex')]),
  );
const there = (): Record<string, string> => hashes(server.repositories.get('org/name')?.files ?? []);
const whole = hashes(Object.entries(files));

describe('a folder that is pushed', () => {
  it('is in the repository byte for byte, large files by LFS; hidden files stay', async () => {
    expect(await push()).toEqual({ url: `${server.endpoint}/org/name`, files: 5, bytes: 4_000_028 });
    expect(there()).toEqual(whole);
    expect(server.stored.size).toBe(2);
    expect(server.repositories.get('org/name')?.private).toBe(false);
    expect(said).toEqual(['uploading 5 files, 4.0 MB, to org/name']);
    // The token goes to the hub, not to where the large files are stored.
    for (const line of server.requests) expect(line.endsWith(writer)).toBe(!line.includes(' /lfs/'));
  });

  it('again: what is stored is not sent twice, files of other names stay', async () => {
    await push();
    server.repositories.get('org/name')?.files.set('notes.md', Buffer.from('mine'));
    await writeFile(join(folder, 'README.md'), 'new');
    const before = server.requests.length;
    await push();
    expect(
      server.requests.slice(before).filter((line) => line.includes('/lfs/') && line.startsWith('PUT')),
    ).toEqual([]);
    expect(there()).toEqual({
      ...whole,
      ...hashes([
        ['README.md', Buffer.from('new')],
        ['notes.md', Buffer.from('mine')],
      ]),
    });
  });

  it('is private where that is asked for, and never public then', async () => {
    await push({}, { hidden: true });
    expect(server.repositories.get('org/name')?.private).toBe(true);
    await push({}, { hidden: true });
    server.repositories.set('org/name', { private: false, files: new Map() });
    await expect(push({}, { hidden: true })).rejects.toThrow(
      /--private: org\/name is there already and public/,
    );
    expect(there()).toEqual({});
  });
});

describe('a push that fails', () => {
  it.each([
    ['401', { token: 'hf_old' }, {}, /org\/name: the hub does not accept the token: got status 401/],
    ['403', { token: reader }, {}, /org\/name: the token may not write there: got status 403/],
    ['404', {}, { repository: 'other/name' }, /other\/name: the hub knows no such owner .*: got status 404/],
    [
      'another token',
      { token: 'secret' },
      {},
      /this is no token of the hub: expected one that begins with hf_/,
    ],
    ['offline', { offline: true }, {}, /nothing can be pushed offline/],
    [
      'no server',
      { endpoint: 'http://127.0.0.1:1' },
      {},
      /127\.0\.0\.1:1: the push was interrupted again and again/,
    ],
  ])('%s: one sentence', async (_, other, target, sentence) => {
    const error = await push(other, target).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ name: 'UserError', message: expect.stringMatching(sentence) as string });
    expect((error as Error).message).not.toMatch(/\n|secret|hf_old|hf_reader/);
    expect(there()).toEqual({});
  });

  it.each(['/api/repos/create', '/preupload/', '/objects/batch', '/lfs/', '/commit/'])(
    'at %s a dropped connection and a busy hub are tried again',
    async (path) => {
      server.faults.push({ path, times: 2, status: 0 }, { path, times: 1, status: 503 });
      await push();
      expect(there()).toEqual(whole);
      expect(server.faults.map(({ times }) => times)).toEqual([0, 0]);
    },
  );

  it.each(['/preupload/', '/lfs/', '/commit/'])(
    'at %s for good: nothing appears, nothing here is changed, the next push gets there',
    async (path) => {
      const before = await readdir(folder, { recursive: true });
      server.faults.push({ path, times: Infinity, status: 0 });
      await expect(push()).rejects.toThrow(
        /the push was interrupted again and again: .*nothing was published/,
      );
      expect(there()).toEqual({});
      expect(await readdir(folder, { recursive: true })).toEqual(before);
      for (const [name, bytes] of Object.entries(files))
        expect((await readFile(join(folder, name))).equals(bytes)).toBe(true);
      server.faults.length = 0;
      await push();
      expect(there()).toEqual(whole);
    },
  );

  it('a link in the folder is not published', async () => {
    await symlink('/etc/hostname', join(folder, 'link.txt'));
    await expect(push()).rejects.toThrow(/link\.txt: this cannot be pushed: expected a plain file/);
    expect(server.requests).toEqual([]);
  });
});
