import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { engine, env } from '@tensorflow/tfjs';
import { deviceFolder } from '../shared/device-folder.js';
import { internalError, userError } from '../shared/errors.js';

/** Name of the tfjs backend of `@tensorflow/tfjs-node` and `-gpu`. */
const BACKEND = 'tensorflow';

const packages = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'] as const;

/** tfjs-node 4.22 calls util.isNullOrUndefined, which Node 23 no longer has. */
const NEWEST_NODE = 22;

/**
 * The main file of a TensorFlow.js package whose native part is built: of one that stands beside lmvec, or of one in node_modules of
 * `deviceFolder()`/tensorflow.
 */
export function findTensorFlow(): string | undefined {
  const made = join(deviceFolder(), 'tensorflow', 'package.json');
  for (const from of [import.meta.url, made]) {
    for (const name of packages) {
      const main = resolved(from, name);
      // A package whose install script did not run is no TensorFlow.
      if (main !== undefined && existsSync(join(main, '..', '..', 'lib', 'napi-v8', 'tfjs_binding.node')))
        return main;
    }
  }
  return undefined;
}

function resolved(from: string, name: string): string | undefined {
  try {
    return createRequire(from).resolve(name);
  } catch {
    return undefined;
  }
}

let loaded = false;

/** Makes TensorFlow the eager backend of tfjs. @throws UserError where there is none */
export function useTensorFlow(): void {
  if (!loaded) {
    const node = Number(process.versions.node.split('.')[0]);
    if (node > NEWEST_NODE)
      throw userError({
        what: 'TensorFlow.js does not run on this Node',
        where: 'device',
        got: process.version,
        expected: `20 to ${NEWEST_NODE}`,
      });
    const main = findTensorFlow();
    if (main === undefined)
      throw userError({
        what: 'TensorFlow is not installed',
        where: 'device',
        hint: 'install it: lmvec setup tensorflow',
      });
    // The package brings its own copy of tfjs, which finds the engine of ours and would tell of every kernel that is there already.
    env().set('PROD', true);
    // Its own log: what processor it was built for.
    process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2';
    createRequire(import.meta.url)(main);
    loaded = true;
  }
  if (!(BACKEND in engine().registryFactory)) throw internalError('tfjs-node registered no backend');
  void engine().setBackend(BACKEND);
}
