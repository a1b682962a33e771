import { escaped } from './html.js';

export const chartWidth = 680;
export const chartHeight = 260;
export const margins = { left: 64, right: 16, top: 40, bottom: 40 };
export const colours = [
  '#0b6e99',
  '#c2410c',
  '#4d7c0f',
  '#7e22ce',
  '#a16207',
  '#be185d',
  '#334155',
  '#0f766e',
];

/** A range of one axis and where its values lie in the picture. */
export interface Scale {
  readonly low: number;
  readonly high: number;
  at(value: number): number;
}

export function horizontal(low: number, high: number): Scale {
  const span = high - low || 1;
  const width = chartWidth - margins.left - margins.right;
  return { low, high, at: (value) => margins.left + ((value - low) / span) * width };
}

/** Upwards: the highest value is on top. */
export function vertical(low: number, high: number): Scale {
  const span = high - low || 1;
  const height = chartHeight - margins.top - margins.bottom;
  return { low, high, at: (value) => margins.top + ((high - value) / span) * height };
}

/** About `count` round numbers in a range: 1, 2 or 5 times a power of ten apart. */
export function ticks({ low, high }: Pick<Scale, 'low' | 'high'>, count = 5): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

export interface ChartFrame {
  readonly title: string;
  readonly xLabel: string;
  readonly x: Scale;
  readonly y: Scale;
  /** Names and colours of what is drawn. */
  readonly legend: readonly { readonly name: string; readonly colour: string }[];
}

/** A whole SVG: title, axes with their numbers, legend, and the marks that are drawn between them. */
export function chart({ title, xLabel, x, y, legend }: ChartFrame, marks: readonly string[]): string {
  const bottom = chartHeight - margins.bottom;
  const right = chartWidth - margins.right;
  const lines = ticks(y).map((value) => {
    const at = y.at(value).toFixed(1);
    return (
      `<line x1="${margins.left}" y1="${at}" x2="${right}" y2="${at}" stroke="#e5e7eb"/>` +
      `<text x="${margins.left - 6}" y="${(y.at(value) + 4).toFixed(1)}" text-anchor="end">${value}</text>`
    );
  });
  const numbers = ticks(x, 8).map(
    (value) => `<text x="${x.at(value).toFixed(1)}" y="${bottom + 16}" text-anchor="middle">${value}</text>`,
  );
  const names = legend.map(
    ({ name, colour }, index) =>
      `<tspan fill="${colour}"${index === 0 ? '' : ' dx="14"'}>${escaped(name)}</tspan>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${chartWidth} ${chartHeight}" role="img" aria-label="${escaped(title)}">`,
    `<text x="${margins.left}" y="16" font-weight="bold">${escaped(title)}</text>`,
    `<text x="${margins.left}" y="32">${names.join('')}</text>`,
    ...lines,
    `<line x1="${margins.left}" y1="${bottom}" x2="${right}" y2="${bottom}" stroke="#6b7280"/>`,
    ...numbers,
    `<text x="${right}" y="${bottom + 32}" text-anchor="end">${escaped(xLabel)}</text>`,
    ...marks,
    '</svg>',
  ].join('\n');
}
