import { existsSync } from 'node:fs';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { checkDevice } from '../../compiler/check-device.js';
import { deviceFolder } from '../../shared/device-folder.js';
import { userError } from '../../shared/errors.js';
import { writeFolderAtomic } from '../../shared/files.js';
import { readZip, unpackEntry } from '../../shared/zip.js';
import { runProgram } from './run-program.js';
import { checkPlatform, obtainWheel, wheels } from './wheels.js';

export interface SetupTensorFlowOptions {
  /** The build that uses NVIDIA's GPUs. */
  readonly gpu?: boolean;
  /** A wheel that was fetched elsewhere. */
  readonly wheel?: string;
  /** Called before each part of the work. */
  readonly onStep?: (sentence: string) => void;
}

const TFJS_VERSION = '4.22.0';

/** The native part calls functions that Node 23 no longer has. */
const NEWEST_NODE = 22;

const headers = /^tensorflow\/include\/((?:tensorflow|tsl|xla|absl)\/.+)$/;
const library = /^tensorflow\/(libtensorflow_(?:cc|framework)\.so\.2)$/;

/**
 * Builds `@tensorflow/tfjs-node` (or `-gpu`) against the TensorFlow inside PyPI's wheel, in `deviceFolder()`/tensorflow: the package's own
 * installer would fetch TensorFlow 2.9, which knows no GPU of today. Takes some minutes and 2 GB of disk; whole or not there.
 * @returns what was made, in one sentence
 * @throws UserError where a part is missing (pip, a compiler, Node's headers) or what was built does not multiply
 */
export async function setupTensorFlow(options: SetupTensorFlowOptions = {}): Promise<string> {
  const { gpu = false, onStep = () => undefined } = options;
  checkPlatform('TensorFlow cannot be built here');
  const major = Number(process.versions.node.split('.')[0]);
  if (major > NEWEST_NODE)
    throw userError({
      what: 'TensorFlow.js does not run on this Node',
      got: process.version,
      expected: `20 to ${NEWEST_NODE}`,
    });
  const prefix = nodePrefix();
  const gyp = nodeGyp(prefix);
  const name = gpu ? 'tfjs-node-gpu' : 'tfjs-node';
  const target = join(deviceFolder(), 'tensorflow');
  await writeFolderAtomic(target, async (folder) => {
    onStep(`installing @tensorflow/${name} ${TFJS_VERSION}`);
    await writeFile(
      join(folder, 'package.json'),
      JSON.stringify({ name: 'lmvec-tensorflow', private: true }),
    );
    await runProgram(
      'npm',
      ['install', '--ignore-scripts', '--no-audit', '--no-fund', `@tensorflow/${name}@${TFJS_VERSION}`],
      { cwd: folder, what: `cannot install @tensorflow/${name}`, hint: 'it needs npm and its registry' },
    );
    const fetched = join(folder, 'wheel');
    await mkdir(fetched);
    const wheel = gpu ? wheels.tensorflowGpu : wheels.tensorflowCpu;
    onStep(`${options.wheel === undefined ? 'fetching' : 'reading'} ${wheel.file}`);
    const path = await obtainWheel(wheel, { given: options.wheel, folder: fetched });
    const module = join(folder, 'node_modules', '@tensorflow', name);
    await unpack(path, join(module, 'deps'));
    await rm(fetched, { recursive: true });
    onStep('building');
    await build({ module, prefix, gyp });
    const check = await checkDevice('tensorflow', undefined, {
      tensorflow: join(module, 'dist', 'index.js'),
    });
    if (!check.works) throw userError({ what: 'TensorFlow was built and does not work', got: check.reason });
  });
  return `TensorFlow ${wheels.tensorflowCpu.version} ${gpu ? 'for GPUs' : 'for the CPU'} is ready: --device tensorflow`;
}

/** The wheel's libraries and headers, where the build looks for them. */
async function unpack(wheel: string, deps: string): Promise<void> {
  for (const entry of await readZip(wheel)) {
    const lib = library.exec(entry.name)?.[1];
    const header = headers.exec(entry.name)?.[1];
    if (lib !== undefined) await unpackEntry(wheel, entry, join(deps, 'lib', lib));
    else if (header !== undefined && !header.split('/').includes('..') && !header.endsWith('/'))
      await unpackEntry(wheel, entry, join(deps, 'include', header));
  }
  await symlink('libtensorflow_cc.so.2', join(deps, 'lib', 'libtensorflow.so'));
  await symlink('libtensorflow_framework.so.2', join(deps, 'lib', 'libtensorflow_framework.so'));
}

async function build({
  module,
  prefix,
  gyp,
}: {
  readonly module: string;
  readonly prefix: string;
  readonly gyp: string;
}): Promise<void> {
  await runProgram(
    process.execPath,
    [
      ...[gyp, 'rebuild', `--nodedir=${prefix}`, '--napi_build_version=8', '--module_name=tfjs_binding'],
      `--module_path=${join(module, 'lib', 'napi-v8')}`,
    ],
    {
      cwd: module,
      environment: { CXXFLAGS: '-std=c++17 -fpermissive -w' },
      what: 'cannot build the native part of TensorFlow.js',
      hint: 'it needs make, g++ and python3: apt-get install build-essential python3',
    },
  );
  await rm(join(module, 'build'), { recursive: true, force: true });
}

/** Where Node's headers lie: include/node below it. */
function nodePrefix(): string {
  const prefix = dirname(dirname(process.execPath));
  if (existsSync(join(prefix, 'include', 'node', 'node_api.h'))) return prefix;
  throw userError({
    what: "Node's headers are not installed",
    where: join(prefix, 'include', 'node'),
    hint: 'install Node from nodejs.org, or the package of its headers',
  });
}

/** node-gyp comes with npm. */
function nodeGyp(prefix: string): string {
  const path = join(prefix, 'lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js');
  if (existsSync(path)) return path;
  throw userError({ what: 'npm, which brings node-gyp, is not beside this Node', where: path });
}
