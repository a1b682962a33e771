import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { archive } from '../../../bench/fuzz/archive.js';
import { setupCuda } from '../../../src/recipes/setup/cuda.js';
import { runProgram } from '../../../src/recipes/setup/run-program.js';
import { setupTensorFlow } from '../../../src/recipes/setup/tensorflow.js';
import { readZip, unpackEntry } from '../../../src/shared/zip.js';
import { lmvec } from '../../scripts/command.js';

vi.setConfig({ testTimeout: 120_000 });

const cwd = await mkdtemp(join(tmpdir(), 'lmvec-setup-'));
afterAll(() => rm(cwd, { recursive: true }));

describe('zip archives', () => {
  it('are unpacked, packed and stored', async () => {
    const content = Buffer.from('a wheel is a zip archive. '.repeat(5000));
    for (const stored of [false, true]) {
      const path = join(cwd, `good-${stored}.zip`);
      await writeFile(path, archive('folder/file.txt', content, { stored }));
      const [entry] = await readZip(path);
      expect(entry).toMatchObject({ name: 'folder/file.txt', size: content.length, stored });
      await unpackEntry(path, entry!, join(cwd, `out-${stored}`, 'file.txt'));
      expect((await readFile(join(cwd, `out-${stored}`, 'file.txt'))).equals(content)).toBe(true);
    }
  });

  it('that lie are refused', async () => {
    const path = join(cwd, 'bad.zip');
    const whole = archive('file', Buffer.alloc(1e6));
    await writeFile(path, whole.subarray(0, -30));
    await expect(readZip(path)).rejects.toThrow('bad.zip: not a zip archive: got no directory at its end');
    const beyond = Buffer.from(whole);
    beyond.writeUInt32LE(0x7fffffff, beyond.length - 6);
    await writeFile(path, beyond);
    await expect(readZip(path)).rejects.toThrow('got a directory beyond its end');
    // A megabyte of zeros that says it is ten bytes.
    await writeFile(path, archive('file', Buffer.alloc(1e6), { size: 10 }));
    const [entry] = await readZip(path);
    await expect(unpackEntry(path, entry!, join(cwd, 'bomb'))).rejects.toThrow(
      'file is damaged: got more than 10 bytes',
    );
    const scratched = archive('file', Buffer.from('a wheel is a zip archive. '.repeat(50)));
    scratched.fill(0xff, 34, 40);
    await writeFile(path, scratched);
    const [other] = await readZip(path);
    await expect(unpackEntry(path, other!, join(cwd, 'scratched'))).rejects.toThrow(
      /bad\.zip: file is damaged: got (invalid|unexpected)/,
    );
  });
});

describe('lmvec setup', () => {
  it('takes no wheel but the known one, and leaves nothing behind', async () => {
    const wheel = join(cwd, 'onnxruntime_gpu-1.30.0-cp311-cp311-manylinux_2_28_x86_64.whl');
    await writeFile(wheel, 'not the wheel');
    await expect(setupCuda({ wheel })).rejects.toThrow(
      /onnxruntime_gpu.*: this is not the wheel that is needed: .* with the SHA-256 hash 4fbf0c5d/,
    );
    const { status, stderr } = await lmvec(['setup', 'cuda', '--wheel', wheel], { cwd });
    expect(status).toBe(2);
    expect(stderr).toContain('this is not the wheel that is needed');
  });

  it('says what is missing in one sentence, and leaves no half folder', async () => {
    const { status, stderr } = await lmvec(['setup', 'webgpu'], { cwd });
    expect({ status, stderr }).toMatchObject({ status: 2 });
    const before = { ...process.env };
    const empty = await mkdtemp(join(cwd, 'empty-'));
    // No program is to be found there.
    Object.assign(process.env, { LMVEC_DEVICES: empty, PATH: empty });
    try {
      await expect(setupTensorFlow()).rejects.toThrow(/cannot install @tensorflow\/tfjs-node|headers/);
    } finally {
      process.env = before;
    }
    expect(await readdir(empty)).toEqual([]);
  });

  it('tells the line of a program that says why it failed', async () => {
    const options = { cwd, what: 'cannot build', hint: 'install it' };
    const script = 'console.error("fine\\nfatal error: no header\\nmake: stopped"); process.exit(3)';
    await expect(runProgram(process.execPath, ['-e', script], options)).rejects.toThrow(
      /cannot build: got .* ended with 3: fatal error: no header \(install it\)/,
    );
    await runProgram(process.execPath, ['-e', ''], options);
  });
});

describe('lmvec doctor', () => {
  it('tells what the machine has, devices that are missing with what installs them', async () => {
    const { status, stdout } = await lmvec(['doctor'], { cwd });
    expect(status).toBe(0);
    expect(stdout).toMatch(/^lmvec \d+\.\d+\.\d+, node v\d+/);
    expect(stdout).toMatch(/^cpu +yes, \d+ GFLOPS in float32$/m);
    for (const device of ['webgpu', 'cuda', 'tensorflow'])
      expect(stdout).toMatch(new RegExp(`^${device} +(yes, \\d+ GFLOPS|no: .+ \\(install .+\\)$)`, 'm'));
  });
});
