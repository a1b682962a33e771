import { open, type FileHandle } from 'node:fs/promises';
import { userError } from '../../shared/errors.js';

/** A file open for reading at any place. */
export interface RangeFile {
  readonly path: string;
  readonly size: number;
  /** Bytes [start, start + length) in memory of their own, aligned for any typed array. @throws UserError where the file ends before. */
  read(start: number, length: number): Promise<ArrayBuffer>;
  /** The same in memory that threads share. */
  readShared(start: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** One read call moves at most this much: Node refuses lengths of 2 GiB and more. */
const readChunk = 1 << 30;

/** Opens a file for range reads. `what` names it for the user. @throws UserError where that cannot be done. */
export async function openRangeFile(path: string, what: string): Promise<RangeFile> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw userError({
      what: code === 'ENOENT' ? `${what} not found` : `cannot open ${what}`,
      where: path,
      ...(code === 'ENOENT' ? {} : { got: String(code) }),
    });
  }
  const stats = await handle.stat();
  if (!stats.isFile()) {
    await handle.close();
    throw userError({ what: `cannot open ${what}`, where: path, got: 'not a file' });
  }
  const fill = async (buffer: ArrayBuffer | SharedArrayBuffer, start: number): Promise<void> => {
    const length = buffer.byteLength;
    for (let done = 0; done < length;) {
      const part = new Uint8Array(buffer, done, Math.min(readChunk, length - done));
      const { bytesRead } = await handle.read(part, 0, part.length, start + done);
      if (bytesRead === 0) throw ended(start, length);
      done += bytesRead;
    }
  };
  const ended = (start: number, length: number): Error =>
    userError({
      what: 'file ends too early',
      where: path,
      got: `${stats.size} bytes`,
      expected: `at least ${start + length}`,
    });
  return {
    path,
    size: stats.size,
    read: async (start, length) => {
      // Before memory is asked for.
      if (start + length > stats.size) throw ended(start, length);
      const buffer = new ArrayBuffer(length);
      await fill(buffer, start);
      return buffer;
    },
    readShared: async (start, length) => {
      if (start + length > stats.size) throw ended(start, length);
      const buffer = new SharedArrayBuffer(length);
      await fill(buffer, start);
      return new Uint8Array(buffer);
    },
    close: () => handle.close(),
  };
}
