import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkDevice, onnxRuntimeFolder } from '../../compiler/check-device.js';
import { internalError, userError } from '../../shared/errors.js';
import { packageVersions } from '../../shared/package.js';
import { readZip, unpackEntry } from '../../shared/zip.js';
import { checkPlatform, obtainWheel, wheels } from './wheels.js';

export interface SetupCudaOptions {
  /** A wheel that was fetched elsewhere. */
  readonly wheel?: string;
  readonly onStep?: (sentence: string) => void;
}

const libraries = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'] as const;

/**
 * Puts ONNX Runtime's CUDA provider, out of the wheel `onnxruntime-gpu` of the same version, beside the library of onnxruntime-node.
 * CUDA 13 and cuDNN 9 themselves are the machine's.
 * @returns what was done and whether it works here, in one sentence
 * @throws UserError where the wheel is not to be had
 */
export async function setupCuda({ wheel: given, onStep }: SetupCudaOptions = {}): Promise<string> {
  checkPlatform('the CUDA provider cannot be installed here');
  const wheel = wheels.onnxRuntimeGpu;
  if (packageVersions().dependencies['onnxruntime-node'] !== wheel.version)
    throw internalError('the CUDA provider is of another version than onnxruntime-node');
  const folder = onnxRuntimeFolder();
  const temporary = await mkdtemp(join(tmpdir(), 'lmvec-cuda-'));
  const beside = (name: string): string => join(folder, `.${name}.tmp`);
  try {
    onStep?.(`${given === undefined ? 'fetching' : 'reading'} ${wheel.file}`);
    const path = await obtainWheel(wheel, { given, folder: temporary });
    const entries = await readZip(path);
    for (const name of libraries) {
      const entry = entries.find((one) => one.name === `onnxruntime/capi/${name}`);
      if (entry === undefined) throw userError({ what: `there is no ${name} in the wheel`, where: path });
      await unpackEntry(path, entry, beside(name));
    }
    for (const name of libraries) await rename(beside(name), join(folder, name));
  } finally {
    await rm(temporary, { recursive: true });
    for (const name of libraries) await rm(beside(name), { force: true });
  }
  const check = await checkDevice('cuda');
  return check.works
    ? 'the CUDA provider is installed and works: --device cuda'
    : `the CUDA provider is installed and does not work here yet: ${check.reason} (${check.hint})`;
}
