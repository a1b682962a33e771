import { randomStream, type RandomStream } from '../../src/shared/random.js';

/** A file of several parts: what is mutated is one of them. */
export type Parts = Readonly<Record<string, Uint8Array>>;

/** Numbers that sizes, counts and offsets break at. */
const edges = [0, 1, 2, 7, 8, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];
const wideEdges = [
  1n << 31n,
  1n << 32n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
];
/** Pieces that mean something to one of the formats. */
const words = [
  ...[
    '{',
    '}',
    '[',
    ']',
    '"',
    ',',
    ':',
    '\n',
    '\t',
    '\r',
    '\\',
    '\0',
    '\u2028',
    '""',
    '{}',
    '[]',
    'null',
    'true',
    '-1',
    '0',
    '1e999',
    '1e308',
  ],
  ...[
    'NaN',
    '-Infinity',
    '9007199254740993',
    '18446744073709551615',
    '-0.0',
    '0x10',
    '../',
    '../../etc/passwd',
    '/etc/passwd',
    'C:\\',
    '~',
  ],
  ...[
    '&a ',
    '*a',
    '&a [*a, *a]',
    '<<: *a',
    '!!js/function ',
    '!!binary ',
    '!!python/object:os.system ',
    '? ',
    '- ',
    '| ',
    '>-\n',
    '---\n',
    '...\n',
    '%YAML 9.9\n',
  ],
  ...[
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    '__metadata__',
    '\ud800',
    '\u0000',
    'ＡＢ',
    '🙂',
  ],
];

/** Input number `index` of a campaign: a pure function of seed, index and originals. */
export function mutated(originals: readonly Parts[], seed: number, index: number): Parts {
  const random = randomStream(seed, index * 1000);
  const original = originals[random.integer(originals.length)] ?? {};
  const names = Object.keys(original);
  const chosen = names[random.integer(names.length)] ?? '';
  let bytes = original[chosen] ?? new Uint8Array(0);
  for (let count = 1 + random.integer(3); count > 0; count--) {
    const mutate = structured(chosen) && random.integer(2) === 0 ? mutateJson : mutateBytes;
    bytes = mutate(bytes, random, originals[random.integer(originals.length)]?.[chosen] ?? bytes);
  }
  return { ...original, [chosen]: bytes };
}

function structured(name: string): boolean {
  return /\.(json|jsonl|safetensors)$/.test(name);
}

function mutateBytes(bytes: Uint8Array, random: RandomStream, other: Uint8Array): Uint8Array {
  const at = random.integer(bytes.length + 1);
  // Heads and tails hold the counts.
  const place =
    random.integer(3) === 0
      ? random.integer(Math.min(256, bytes.length + 1))
      : random.integer(3) === 0
        ? Math.max(0, bytes.length - random.integer(256))
        : at;
  const length = 1 + random.integer(random.integer(8) === 0 ? Math.max(1, bytes.length) : 16);
  switch (random.integer(11)) {
    case 0: {
      const copy = new Uint8Array(bytes);
      if (copy.length > 0)
        copy[place % copy.length] = (copy[place % copy.length] ?? 0) ^ (1 << random.integer(8));
      return copy;
    }
    case 1: {
      const copy = new Uint8Array(bytes);
      for (let i = place; i < Math.min(copy.length, place + length); i++) copy[i] = random.integer(256);
      return copy;
    }
    case 2:
    case 3: {
      const number = Buffer.alloc(8);
      const width = [1, 2, 4, 8][random.integer(4)] ?? 4;
      if (width === 8) number.writeBigUInt64LE(wideEdges[random.integer(wideEdges.length)] ?? 0n);
      else number.writeUIntLE((edges[random.integer(edges.length)] ?? 0) % 2 ** (8 * width), 0, width);
      const copy = new Uint8Array(bytes);
      copy.set(number.subarray(0, Math.max(0, Math.min(width, copy.length - place))), place);
      return copy;
    }
    case 4:
      return bytes.slice(0, place);
    case 5:
      return join(bytes.subarray(0, place), bytes.subarray(place + length));
    case 6: {
      const piece = bytes.subarray(place, place + length);
      const times =
        random.integer(10) === 0
          ? Math.min(20_000, Math.ceil(200_000 / Math.max(1, piece.length)))
          : 1 + random.integer(8);
      return join(
        bytes.subarray(0, place),
        ...Array.from({ length: times }, () => piece),
        bytes.subarray(place),
      );
    }
    case 7:
      return join(bytes.subarray(0, place), other.subarray(random.integer(other.length + 1)));
    case 8: {
      const word = Buffer.from(words[random.integer(words.length)] ?? '');
      const times = random.integer(12) === 0 ? 5000 : 1;
      return join(
        bytes.subarray(0, place),
        ...Array.from({ length: times }, () => word),
        bytes.subarray(place),
      );
    }
    case 9: {
      // A number in the text becomes another.
      const text = Buffer.from(bytes).toString('latin1');
      const numbers = [...text.slice(0, 100_000).matchAll(/-?\d+/g)];
      const match = numbers[random.integer(numbers.length)];
      if (match === undefined) return bytes;
      const value =
        random.integer(2) === 0
          ? String(wideEdges[random.integer(wideEdges.length)])
          : String(edges[random.integer(edges.length)]);
      return Buffer.from(
        text.slice(0, match.index) + value + text.slice(match.index + match[0].length),
        'latin1',
      );
    }
    default:
      return join(
        bytes.subarray(0, place),
        Uint8Array.from({ length }, () => random.integer(256)),
        bytes.subarray(place),
      );
  }
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

/** JSON text, JSON lines, or the JSON head of a safetensors file with its length put right. */
function mutateJson(bytes: Uint8Array, random: RandomStream, other: Uint8Array): Uint8Array {
  const buffer = Buffer.from(bytes);
  try {
    if (buffer[0] === 0x7b) {
      const lines = buffer.toString('utf8').split('\n');
      const line =
        lines[1] === undefined || lines[1] === '' || !lines[1].startsWith('{')
          ? -1
          : random.integer(lines.length);
      if (line < 0) return Buffer.from(mutateText(buffer.toString('utf8'), random));
      lines[line] = mutateText(lines[line] ?? '{}', random);
      return Buffer.from(lines.join('\n'));
    }
    const length = Number(buffer.readBigUInt64LE(0));
    const head = Buffer.from(mutateText(buffer.toString('utf8', 8, 8 + length), random));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(head.length));
    return Buffer.concat([size, head, buffer.subarray(8 + length)]);
  } catch {
    return mutateBytes(bytes, random, other);
  }
}

function mutateText(text: string, random: RandomStream): string {
  const value = JSON.parse(text) as unknown;
  const holders: { readonly holder: Record<string, unknown>; readonly key: string }[] = [];
  const walk = (node: unknown): void => {
    if (typeof node !== 'object' || node === null || holders.length > 50_000) return;
    for (const key of Object.keys(node)) {
      holders.push({ holder: node as Record<string, unknown>, key });
      walk((node as Record<string, unknown>)[key]);
    }
  };
  walk(value);
  // Large maps (vocabularies) must not drown the few keys above them.
  const shallow = holders.slice(0, 60);
  const pool = random.integer(2) === 0 ? shallow : holders;
  const place = pool[random.integer(pool.length)];
  if (place === undefined) return text;
  const { holder, key } = place;
  const deep = '['.repeat(3000) + ']'.repeat(3000);
  switch (random.integer(5)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else Reflect.deleteProperty(holder, key);
      return JSON.stringify(value);
    case 1:
      holder[words[random.integer(words.length)] ?? ''] = holder[key];
      return JSON.stringify(value);
    default: {
      const marker = '@@fuzz@@';
      const numbers = [
        ...edges.map(String),
        ...wideEdges.map(String),
        '-1',
        '-2147483649',
        '0.5',
        '1e308',
        '1e999',
        '-0',
        '1e-320',
      ];
      const others = [
        'null',
        'true',
        '""',
        '[]',
        '{}',
        deep,
        `"${'x'.repeat(70_000)}"`,
        '"../../x"',
        '[null]',
        '{"a":{}}',
        JSON.stringify(words[random.integer(words.length)]),
      ];
      const list = random.integer(2) === 0 ? numbers : others;
      holder[key] = marker;
      return JSON.stringify(value).replace(`"${marker}"`, () => list[random.integer(list.length)] ?? '0');
    }
  }
}
