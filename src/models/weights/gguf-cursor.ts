import { userError } from '../../shared/errors.js';

/** A metadata value. 64-bit integers that float64 cannot hold stay `bigint`. */
export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

/** The buffer ends, the file does not: read on with more of it. */
export class NeedMoreBytes extends Error {}

/** Metadata value types by number (docs/gguf.md, gguf_metadata_value_type). */
const stringType = 8;
const arrayType = 9;
const minimumBytes: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];
const maxArrayDepth = 4;

/** Reads GGUF's primitives one after the other from a file's first bytes; everything it believes is checked against the file's size first. */
export class GgufCursor {
  position = 0;
  private readonly view: DataView;
  // ignoreBOM: a leading U+FEFF belongs to the token.
  private readonly decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(
    private readonly bytes: ArrayBuffer,
    readonly size: number,
    readonly path: string,
  ) {
    this.view = new DataView(bytes);
  }

  broken(what: string): Error {
    return userError({ what: `broken GGUF file: ${what}`, where: this.path });
  }

  uint32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  /** An unsigned 64-bit size. */
  size64(what: string): number {
    const value = this.view.getBigUint64(this.take(8), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.broken(`${what} is ${value}`);
    return Number(value);
  }

  /** A 64-bit count of things that take at least `each` bytes, so that it cannot ask for more than the file holds. */
  count(what: string, each: number): number {
    const value = this.size64(`the number of ${what}`);
    if (value * each > this.size - this.position)
      throw this.broken(`it announces ${value} ${what}, more than its ${this.size} bytes can hold`);
    return value;
  }

  string(maxBytes: number, what: string): string {
    const length = this.size64(`the length of ${what}`);
    if (length > maxBytes) throw this.broken(`${what} has ${length} bytes`);
    const start = this.take(length);
    try {
      return this.decoder.decode(new Uint8Array(this.bytes, start, length));
    } catch {
      throw this.broken(`${what} is not UTF-8`);
    }
  }

  value(key: string): GgufValue {
    return this.valueOfType(this.uint32(), key, 0);
  }

  private valueOfType(type: number, key: string, depth: number): GgufValue {
    switch (type) {
      case 0:
        return this.view.getUint8(this.take(1));
      case 1:
        return this.view.getInt8(this.take(1));
      case 2:
        return this.view.getUint16(this.take(2), true);
      case 3:
        return this.view.getInt16(this.take(2), true);
      case 4:
        return this.uint32();
      case 5:
        return this.view.getInt32(this.take(4), true);
      case 6:
        return this.view.getFloat32(this.take(4), true);
      case 7:
        return this.view.getUint8(this.take(1)) !== 0;
      case stringType:
        return this.string(this.size, key);
      case arrayType:
        return this.array(key, depth);
      case 10:
        return exact(this.view.getBigUint64(this.take(8), true));
      case 11:
        return exact(this.view.getBigInt64(this.take(8), true));
      case 12:
        return this.view.getFloat64(this.take(8), true);
      default:
        throw this.broken(`${key} has the unknown value type ${type}`);
    }
  }

  private array(key: string, depth: number): readonly GgufValue[] {
    if (depth === maxArrayDepth) throw this.broken(`${key} nests arrays deeper than ${maxArrayDepth}`);
    const type = this.uint32();
    const count = this.count(`elements of ${key}`, minimumBytes[type] ?? 1);
    const values: GgufValue[] = [];
    for (let i = 0; i < count; i++) values.push(this.valueOfType(type, key, depth + 1));
    return values;
  }

  /** The place of the next `length` bytes. */
  private take(length: number): number {
    const start = this.position;
    if (start + length > this.size)
      throw this.broken(`it ends in the middle of its header, at byte ${this.size}`);
    if (start + length > this.bytes.byteLength) throw new NeedMoreBytes();
    this.position += length;
    return start;
  }
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
