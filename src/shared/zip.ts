import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { userError } from './errors.js';

/** A file in a zip archive. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly packedSize: number;
  readonly stored: boolean;
  /** Where its local header begins. */
  readonly offset: number;
}

const END = 0x06054b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const LONGEST_COMMENT = 0xffff;
const LARGEST_DIRECTORY = 64e6;

/** The files of a zip archive (PKWARE's APPNOTE, without zip64 and encryption). @throws UserError where it is none */
export async function readZip(path: string): Promise<ZipEntry[]> {
  const bad = (got: string): Error => userError({ what: 'not a zip archive', where: path, got });
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const tailBytes = Math.min(size, END_BYTES + LONGEST_COMMENT);
    const tail = Buffer.alloc(tailBytes);
    await file.read(tail, 0, tailBytes, size - tailBytes);
    let at = tailBytes - END_BYTES;
    while (at >= 0 && tail.readUInt32LE(at) !== END) at--;
    if (at < 0) throw bad('no directory at its end');
    const count = tail.readUInt16LE(at + 10);
    const bytes = tail.readUInt32LE(at + 12);
    const offset = tail.readUInt32LE(at + 16);
    if (offset + bytes > size || bytes > LARGEST_DIRECTORY) throw bad('a directory beyond its end');
    const directory = Buffer.alloc(bytes);
    await file.read(directory, 0, bytes, offset);
    const entries: ZipEntry[] = [];
    for (let place = 0; entries.length < count;) {
      if (place + 46 > bytes || directory.readUInt32LE(place) !== CENTRAL)
        throw bad('a directory that breaks off');
      const method = directory.readUInt16LE(place + 10);
      const nameBytes = directory.readUInt16LE(place + 28);
      const name = directory.toString('utf8', place + 46, place + 46 + nameBytes);
      if (method !== 0 && method !== 8) throw bad(`${name} packed by method ${method}`);
      entries.push({
        name,
        size: directory.readUInt32LE(place + 24),
        packedSize: directory.readUInt32LE(place + 20),
        stored: method === 0,
        offset: directory.readUInt32LE(place + 42),
      });
      place += 46 + nameBytes + directory.readUInt16LE(place + 30) + directory.readUInt16LE(place + 32);
    }
    return entries;
  } finally {
    await file.close();
  }
}

/** Unpacks one file of an archive to `target`, in a stream. @throws UserError where it is not what the directory says */
export async function unpackEntry(
  path: string,
  { name, size, packedSize, stored, offset }: ZipEntry,
  target: string,
): Promise<void> {
  const damaged = (got: string): Error =>
    userError({ what: `${name} is damaged`, where: path, got, expected: `${size} bytes` });
  const header = Buffer.alloc(30);
  const file = await open(path);
  try {
    await file.read(header, 0, 30, offset);
  } finally {
    await file.close();
  }
  if (header.readUInt32LE(0) !== LOCAL)
    throw userError({ what: 'not a zip archive', where: path, got: `no file at the place of ${name}` });
  const start = offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  await mkdir(dirname(target), { recursive: true });
  const sink = createWriteStream(target);
  if (packedSize > 0) {
    const packed = createReadStream(path, { start, end: start + packedSize - 1 });
    // Never more than the directory promised, whatever the data would grow to.
    const limited = async function* (parts: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      let written = 0;
      for await (const part of parts) {
        written += part.length;
        if (written > size) throw damaged(`more than ${size} bytes`);
        yield part;
      }
    };
    try {
      if (stored) await pipeline(packed, limited, sink);
      else await pipeline(packed, createInflateRaw(), limited, sink);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // Where packed data ends before the bytes that it was given, its reader is stopped.
      if (code === 'ABORT_ERR') throw damaged('packed data that ends too soon');
      throw code?.startsWith('Z_') === true ? damaged(message) : error;
    }
  } else sink.end();
  if (sink.bytesWritten !== size) throw damaged(`${sink.bytesWritten} bytes`);
}
