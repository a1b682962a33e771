import { createContext, Script } from 'node:vm';

/** A script of ours that calls a function of ours: only `vm` can stop a loop from within its own thread. */
const script = new Script('call()');
const holder: { call: () => unknown } = { call: () => undefined };
const context = createContext(holder);

/**
 * Calls a decoder that may never end on hostile data (fzstd's reader of Huffman weights is one).
 * @throws Error where it takes longer than any honest data can
 */
export function withTimeLimit<T>(decode: () => T, milliseconds = 10_000): T {
  holder.call = decode;
  try {
    return script.runInContext(context, { timeout: milliseconds }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      throw new Error('data that cannot be unpacked in any reasonable time', { cause: error });
    throw error;
  } finally {
    holder.call = () => undefined;
  }
}
