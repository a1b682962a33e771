import { Decompress } from 'fzstd';
import { userError } from '../shared/errors.js';
import { withTimeLimit } from './time-limit.js';

/** What the zstd command itself accepts without being told to (--memory=128MB). A frame asks for its window before any of its content. */
const largestWindow = 128 * 1024 * 1024;
/** Of a block's content (RFC 8878, 3.1.1.2.4). */
const largestBlock = 128 * 1024;
const frameMagic = 0xfd2fb528;
const longestHeader = 18;

/** Unpacks Zstandard data (RFC 8878), frame after frame. @throws UserError where it is broken or wants too much memory */
export async function* unzstd(stored: AsyncIterable<Buffer>, path: string): AsyncGenerator<Buffer> {
  const broken = (got: string): Error => userError({ what: 'broken zstd data', where: path, got });
  const frames = frameScanner((window) => {
    if (window > largestWindow) {
      throw userError({
        what: 'this zstd file wants too much memory',
        where: path,
        got: `a window of ${String(window)} bytes`,
        expected: `at most ${String(largestWindow)}`,
        hint: 'pack it without --ultra and --long',
      });
    }
  }, broken);
  let unpacked: Buffer[] = [];
  // A block is copied: the decompressor goes on writing into its own memory.
  const decompressor = new Decompress((part) => void unpacked.push(Buffer.from(part)));
  const push = (block: Uint8Array, final: boolean): void => {
    try {
      withTimeLimit(() => {
        decompressor.push(block, final);
      });
    } catch (error) {
      throw broken(error instanceof Error ? error.message : String(error));
    }
  };
  // Small pieces: a few bytes of zstd can stand for many times as many, and one push unpacks all that it is given.
  const pieceBytes = 1 << 12;
  for await (const block of stored) {
    for (let start = 0; start < block.length; start += pieceBytes) {
      const piece = block.subarray(start, start + pieceBytes);
      frames.push(piece);
      push(piece, false);
      for (const part of unpacked) if (part.length > 0) yield part;
      unpacked = [];
    }
  }
  frames.end();
  push(new Uint8Array(0), true);
  for (const part of unpacked) if (part.length > 0) yield part;
}

/** Walks over frames and blocks without unpacking them: a frame's window is known before any memory is asked for. */
function frameScanner(
  useWindow: (bytes: number) => void,
  broken: (got: string) => Error,
): { push(bytes: Uint8Array): void; end(): void } {
  let state: 'frame' | 'block' | 'skip' = 'frame';
  let header = Buffer.alloc(0);
  let skip = 0;
  let afterSkip: 'frame' | 'block' = 'frame';
  let checksum = false;
  const frame = (): boolean => {
    if (header.length < 4) return false;
    const magic = header.readUInt32LE(0);
    if ((magic & 0xfffffff0) >>> 0 === 0x184d2a50) {
      if (header.length < 8) return false;
      skipTo('frame', header.readUInt32LE(4), 8);
      return true;
    }
    if (magic !== frameMagic) throw broken('bytes that begin no frame');
    const size = header.length < 5 ? Infinity : headerBytes(header[4] ?? 0);
    if (header.length < size) return false;
    useWindow(windowOf(header));
    checksum = ((header[4] ?? 0) & 4) !== 0;
    skipTo('block', 0, size);
    return true;
  };
  const block = (): boolean => {
    if (header.length < 3) return false;
    const word = header.readUIntLE(0, 3);
    const last = (word & 1) === 1;
    const type = (word >> 1) & 3;
    if (type === 3) throw broken('a block of a reserved type');
    if (word >> 3 > largestBlock) throw broken('a block that is too large');
    // A run of one byte is stored as that byte.
    skipTo(last ? 'frame' : 'block', (type === 1 ? 1 : word >> 3) + (last && checksum ? 4 : 0), 3);
    return true;
  };
  const skipTo = (next: 'frame' | 'block', bytes: number, used: number): void => {
    header = header.subarray(used);
    [state, skip, afterSkip] = ['skip', bytes, next];
  };
  return {
    push(bytes) {
      header = header.length === 0 ? Buffer.from(bytes) : Buffer.concat([header, bytes]);
      for (;;) {
        if (state === 'skip') {
          const passed = Math.min(skip, header.length);
          header = header.subarray(passed);
          skip -= passed;
          if (skip > 0) return;
          state = afterSkip;
        }
        if (!(state === 'frame' ? frame() : block())) return;
      }
    },
    end() {
      if (state !== 'frame' || header.length > 0) throw broken('an end within a frame');
    },
  };
}

/** Magic number, descriptor, window, dictionary id, content size (RFC 8878, 3.1.1.1). */
function headerBytes(descriptor: number): number {
  const singleSegment = (descriptor >> 5) & 1;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contentSize = [singleSegment, 2, 4, 8][descriptor >> 6] ?? 0;
  return Math.min(longestHeader, 5 + (1 - singleSegment) + dictionary + contentSize);
}

function windowOf(header: Buffer): number {
  const descriptor = header[4] ?? 0;
  if (((descriptor >> 5) & 1) === 0) {
    const window = header[5] ?? 0;
    const base = 2 ** (10 + (window >> 3));
    return base + (base / 8) * (window & 7);
  }
  const sizeBytes = [1, 2, 4, 8][descriptor >> 6] ?? 1;
  const at = 5 + ([0, 1, 2, 4][descriptor & 3] ?? 0);
  if (sizeBytes === 8) return Number(header.readBigUInt64LE(at));
  return header.readUIntLE(at, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
}
