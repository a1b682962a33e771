import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { userError } from '../../shared/errors.js';
import { isWhole } from '../../shared/hub/download.js';
import { runProgram } from './run-program.js';

/** A package of PyPI that holds libraries of ours, known byte for byte. */
export interface Wheel {
  readonly project: string;
  readonly version: string;
  readonly file: string;
  /** Bytes. */
  readonly size: number;
  readonly sha256: string;
}

export const wheels = {
  tensorflowCpu: {
    project: 'tensorflow-cpu',
    version: '2.21.0',
    file: 'tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl',
    size: 273_829_956,
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
  },
  tensorflowGpu: {
    project: 'tensorflow',
    version: '2.21.0',
    file: 'tensorflow-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl',
    size: 572_440_367,
    sha256: '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
  },
  onnxRuntimeGpu: {
    project: 'onnxruntime-gpu',
    version: '1.30.0',
    file: 'onnxruntime_gpu-1.30.0-cp311-cp311-manylinux_2_28_x86_64.whl',
    size: 246_658_419,
    sha256: '4fbf0c5d7b5fb99266c2e8a802e3e64af68bdc383e0f3c7349b985f1087eedaa',
  },
} as const satisfies Readonly<Record<string, Wheel>>;

/** Both kinds of library are built for this platform alone. @throws UserError on another */
export function checkPlatform(what: string): void {
  const got = `${process.platform} ${process.arch}`;
  if (got !== 'linux x64') throw userError({ what, got, expected: 'linux x64' });
}

/**
 * Path of a wheel: the one that is given, or one that pip fetches into `folder`. Its hash is checked either way.
 * @throws UserError where it is another file, or pip is missing or finds nothing
 */
export async function obtainWheel(
  wheel: Wheel,
  { given, folder }: { readonly given: string | undefined; readonly folder: string },
): Promise<string> {
  const { project, version, file, size, sha256 } = wheel;
  const whole = (path: string): Promise<boolean> =>
    isWhole(path, { path: file, size, hash: { kind: 'sha256', hex: sha256 } });
  if (given !== undefined) {
    if (await whole(given)) return given;
    throw userError({
      what: 'this is not the wheel that is needed',
      where: given,
      got: 'other bytes, or no file',
      expected: `${file} with the SHA-256 hash ${sha256}`,
      hint: `pip download --no-deps ${project}==${version}`,
    });
  }
  const requirements = join(folder, 'requirements.txt');
  await writeFile(requirements, `${project}==${version} --hash=sha256:${sha256}\n`);
  const [, python = '', , platform = ''] = file.slice(0, -'.whl'.length).split('-').slice(1);
  await runProgram(
    'python3',
    [
      ...['-m', 'pip', 'download', '--quiet', '--no-deps', '--require-hashes', '--only-binary=:all:'],
      ...['--implementation', 'cp', '--python-version', python.replace(/^cp3/, '3.'), '--platform', platform],
      ...['--dest', folder, '--requirement', requirements],
    ],
    {
      cwd: folder,
      what: `cannot fetch ${project} ${version}`,
      hint: `it needs Python's pip; or fetch ${file} elsewhere and give it with --wheel`,
    },
  );
  const path = join(folder, file);
  if (await whole(path)) return path;
  throw userError({ what: 'the wheel that pip fetched is not the one that is known', where: file });
}
