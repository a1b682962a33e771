import { inflateSync } from 'node:zlib';

export interface Pixels {
  readonly width: number;
  readonly height: number;
  /** How many pixels have a colour, by `#rrggbb`. */
  readonly colours: ReadonlyMap<string, number>;
}

/** Reads what Chromium writes: eight bits a channel, RGB or RGBA, not interlaced. */
export function pixelsOf(png: Buffer): Pixels {
  const width = png.readUInt32BE(16);
  const height = png.readUInt32BE(20);
  const channels = png[25] === 6 ? 4 : 3;
  const parts: Buffer[] = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const rows = unfiltered(inflateSync(Buffer.concat(parts)), { stride: width * channels, height, channels });
  const colours = new Map<string, number>();
  for (let i = 0; i < rows.length; i += channels) {
    const colour = `#${rows.toString('hex', i, i + 3)}`;
    colours.set(colour, (colours.get(colour) ?? 0) + 1);
  }
  return { width, height, colours };
}

/** PNG specification, section 9.2: each row says how it was predicted from the pixel to the left and the row above. */
function unfiltered(
  data: Buffer,
  {
    stride,
    height,
    channels,
  }: { readonly stride: number; readonly height: number; readonly channels: number },
): Buffer {
  const out = Buffer.alloc(stride * height);
  for (let row = 0; row < height; row++) {
    const filter = data[row * (stride + 1)];
    for (let i = 0; i < stride; i++) {
      const at = row * stride + i;
      const left = i < channels ? 0 : (out[at - channels] as number);
      const above = row === 0 ? 0 : (out[at - stride] as number);
      const corner = i < channels || row === 0 ? 0 : (out[at - stride - channels] as number);
      const predicted = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter ?? 0] ?? 0;
      out[at] = (data[row * (stride + 1) + 1 + i] as number) + predicted;
    }
  }
  return out;
}

function paeth(left: number, above: number, corner: number): number {
  const estimate = left + above - corner;
  const [toLeft, toAbove, toCorner] = [left, above, corner].map((value) => Math.abs(estimate - value)) as [
    number,
    number,
    number,
  ];
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}
