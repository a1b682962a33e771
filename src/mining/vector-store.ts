import { open, type FileHandle } from 'node:fs/promises';
import type { Embeddings } from '../pooling/packed-encoder.js';
import { atPath } from '../shared/files.js';
import { sharedFloats } from '../shared/worker-thread.js';

/** Texts that are embedded and written together. */
const GROUP = 2048;

/**
 * Embeds texts into a file of float32 rows, going on where an earlier start stopped; then the rows are read back.
 * @param encode unit vectors
 */
export async function storedVectors(
  path: string,
  texts: readonly string[],
  {
    encode,
    dimensions,
    onProgress,
  }: {
    readonly encode: (texts: readonly string[]) => Promise<Embeddings>;
    readonly dimensions: number;
    readonly onProgress?: (done: number) => void;
  },
): Promise<Embeddings> {
  const file = await open(path, 'a+');
  try {
    const bytes = 4 * dimensions;
    const { size } = await file.stat();
    // A start that was killed may have left a part of a group: whole groups only.
    const groups = Math.floor(size / (bytes * GROUP));
    let done = size === bytes * texts.length ? texts.length : Math.min(groups * GROUP, texts.length);
    await file.truncate(done * bytes);
    while (done < texts.length) {
      const group = texts.slice(done, done + GROUP);
      const { data } = await encode(group);
      await file.appendFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      await file.datasync();
      done += group.length;
      onProgress?.(done);
    }
    return { rows: texts.length, dimensions, data: await readFloats(file, texts.length * dimensions) };
  } catch (error) {
    throw atPath(error, (at = path) => at);
  } finally {
    await file.close();
  }
}

/** float32 from a file's beginning, in memory that threads share; a file may be larger than one read. */
export async function readFloats(file: FileHandle, count: number): Promise<Float32Array> {
  const data = sharedFloats(count);
  const bytes = new Uint8Array(data.buffer);
  let offset = 0;
  while (offset < bytes.length) {
    const { bytesRead } = await file.read(bytes, offset, Math.min(1 << 28, bytes.length - offset), offset);
    if (bytesRead === 0) break;
    offset += bytesRead;
  }
  return data;
}
