import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { decompress as unzstd } from 'fzstd';
import type { CompressionCodec } from 'hyparquet';
import { decompressLz4Raw, decompressSnappy } from 'hyparquet-compressors';
import { withTimeLimit } from '../time-limit.js';

/** Unpacks a page into exactly `length` bytes; nobody allocates more than that. @throws Error */
export function decompressPage(codec: CompressionCodec, packed: Uint8Array, length: number): Uint8Array {
  const unpacked = unpack(codec, packed, length);
  if (unpacked.length !== length)
    throw new Error(`a page of ${String(unpacked.length)} bytes instead of ${String(length)}`);
  return unpacked;
}

function unpack(codec: CompressionCodec, packed: Uint8Array, length: number): Uint8Array {
  if (codec === 'UNCOMPRESSED') return packed;
  if (length === 0) return new Uint8Array(0);
  switch (codec) {
    case 'SNAPPY':
      return decompressSnappy(packed, length);
    case 'GZIP':
      return gunzipSync(packed, { maxOutputLength: length });
    case 'BROTLI':
      return brotliDecompressSync(packed, { maxOutputLength: length });
    case 'ZSTD':
      return withTimeLimit(() => unzstd(packed, new Uint8Array(length)));
    case 'LZ4_RAW':
      return decompressLz4Raw(packed, length);
    case 'LZ4':
      return hadoopLz4(packed, length) ?? decompressLz4Raw(packed, length);
    default:
      throw new Error(`the compression ${codec}`);
  }
}

/** Blocks with their unpacked and packed lengths before them, as Hadoop writes them; undefined where the page is one block without. */
function hadoopLz4(packed: Uint8Array, length: number): Uint8Array | undefined {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const blocks: Uint8Array[] = [];
  let total = 0;
  for (let at = 0; at < packed.length;) {
    if (at + 8 > packed.length) return undefined;
    const [unpackedBytes, packedBytes] = [view.getUint32(at), view.getUint32(at + 4)];
    at += 8;
    total += unpackedBytes;
    if (unpackedBytes === 0 || packedBytes === 0 || at + packedBytes > packed.length || total > length)
      return undefined;
    blocks.push(decompressLz4Raw(packed.subarray(at, at + packedBytes), unpackedBytes));
    at += packedBytes;
  }
  return Buffer.concat(blocks);
}
