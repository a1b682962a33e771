import { chart, colours, horizontal, vertical } from './axes.js';

/** A named sample. */
export interface Sample {
  readonly name: string;
  readonly values: readonly number[];
}

const bins = 40;

/** How often the values of samples fall into equal bins from -1 to 1 (the last one closed), as shares of the sample. */
export function shares(values: readonly number[]): number[] {
  const counts = new Array<number>(bins).fill(0);
  const finite = values.filter((value) => Number.isFinite(value));
  for (const value of finite) {
    const bin = Math.min(bins - 1, Math.max(0, Math.floor(((value + 1) / 2) * bins)));
    counts[bin] = (counts[bin] as number) + 1;
  }
  return counts.map((count) => count / Math.max(1, finite.length));
}

/** Histograms of cosines over each other, half transparent, as an SVG. */
export function histogram(title: string, samples: readonly Sample[]): string {
  const heights = samples.map(({ values }) => shares(values));
  const most = Math.max(0.01, ...heights.flat());
  const x = horizontal(-1, 1);
  const y = vertical(0, most * 1.05);
  const legend = samples.map(({ name, values }, index) => ({
    name: `${name} (${values.length})`,
    colour: colours[index % colours.length] as string,
  }));
  const bars = heights.flatMap((shareOf, sample) =>
    shareOf.flatMap((share, bin) => {
      if (share === 0) return [];
      const left = x.at(-1 + (2 * bin) / bins);
      const width = x.at(-1 + (2 * (bin + 1)) / bins) - left - 1;
      const top = y.at(share);
      return `<rect x="${left.toFixed(1)}" y="${top.toFixed(1)}" width="${width.toFixed(1)}" height="${(y.at(0) - top).toFixed(1)}" fill="${legend[sample]?.colour ?? ''}" fill-opacity="0.55"/>`;
    }),
  );
  return chart({ title, xLabel: 'cosine', x, y, legend }, bars);
}
