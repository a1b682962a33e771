/** GPT-2's alphabet: each byte as one printable character. */
const characterOfByte: readonly string[] = (() => {
  const table: string[] = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    table.push(String.fromCharCode(printable ? byte : next++));
  }
  return table;
})();

const byteOfCharacter: ReadonlyMap<number, number> = new Map(
  characterOfByte.map((character, byte) => [character.charCodeAt(0), byte]),
);

const encoder = new TextEncoder();

/** The text's UTF-8 bytes in GPT-2's alphabet. */
export function toByteLevel(text: string): string {
  let mapped = '';
  for (const byte of encoder.encode(text)) mapped += characterOfByte[byte] ?? '';
  return mapped;
}

/** The bytes that a byte-level token stands for, or undefined where it has characters outside the alphabet. */
export function fromByteLevel(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter.get(token.charCodeAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
