import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collect: (() => void) | undefined;

/**
 * Frees what nobody holds any more. V8 looks at its own heap to decide when: gigabytes of array buffers that a stage leaves behind would stay
 * beside those of the next one. A tenth of a second, for the few places where much is given up at once.
 */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
    setFlagsFromString('--no-expose-gc');
  }
  collect();
}
