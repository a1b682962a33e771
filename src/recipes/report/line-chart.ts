import { chart, colours, horizontal, vertical, type Scale } from './axes.js';
import { escaped } from './html.js';

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** A named curve. */
export interface Curve {
  readonly name: string;
  readonly points: readonly Point[];
  /** A mark at every point, for the few that evaluations are. */
  readonly dots?: boolean;
  /** Behind the others: what another curve is the mean of. */
  readonly faint?: boolean;
}

export interface LineChartOptions {
  readonly title: string;
  readonly xLabel: string;
  readonly curves: readonly Curve[];
  /** Vertical lines with a name each, such as where a stage begins. */
  readonly boundaries?: readonly { readonly name: string; readonly x: number }[];
}

/** No more points than the picture can show. */
const mostPoints = 600;

/** Curves over one axis as an SVG; '' where there is no finite point. */
export function lineChart({ title, xLabel, curves, boundaries = [] }: LineChartOptions): string {
  const drawn = curves.map((curve) => ({ ...curve, points: thinned(curve.points.filter(isFinitePoint)) }));
  const points = drawn.flatMap((curve) => curve.points);
  if (points.length === 0) return '';
  const x = horizontal(...rangeOf(points.map((point) => point.x)));
  const [low, high] = rangeOf(points.map((point) => point.y));
  const room = 0.05 * (high - low || Math.abs(high) || 1);
  const y = vertical(low - room, high + room);
  const shown = drawn.map((curve, index) => ({
    ...curve,
    colour: colours[index % colours.length] as string,
  }));
  return chart({ title, xLabel, x, y, legend: shown.filter(({ faint }) => faint !== true) }, [
    ...boundaries.map((boundary) => boundaryLine(boundary, x, y)),
    ...shown.flatMap(({ points: own, colour, dots, faint }) => [
      polyline(own, { x, y, colour: faint === true ? '#9ca3af' : colour, width: faint === true ? 1 : 2 }),
      ...(dots === true
        ? own.map(
            (point) =>
              `<circle cx="${x.at(point.x).toFixed(1)}" cy="${y.at(point.y).toFixed(1)}" r="3" fill="${colour}"/>`,
          )
        : []),
    ]),
  ]);
}

/** Exponential mean of noisy values, corrected for its beginning as Adam's moments are. */
export function smoothed(points: readonly Point[], keep = 0.9): Point[] {
  let sum = 0;
  let weight = 0;
  return points.filter(isFinitePoint).map(({ x, y }) => {
    sum = keep * sum + (1 - keep) * y;
    weight = keep * weight + (1 - keep);
    return { x, y: sum / weight };
  });
}

/** Means of neighbours, so that no more than `mostPoints` are left. */
function thinned(points: readonly Point[]): readonly Point[] {
  const group = Math.ceil(points.length / mostPoints);
  if (group <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / group) }, (_, index) => {
    const own = points.slice(index * group, (index + 1) * group);
    const mean = (of: (point: Point) => number): number =>
      own.reduce((sum, point) => sum + of(point), 0) / own.length;
    return { x: mean(({ x }) => x), y: mean(({ y }) => y) };
  });
}

function isFinitePoint({ x, y }: Point): boolean {
  return Number.isFinite(x) && Number.isFinite(y);
}

function rangeOf(values: readonly number[]): [number, number] {
  return [
    values.reduce((least, value) => Math.min(least, value), Infinity),
    values.reduce((most, value) => Math.max(most, value), -Infinity),
  ];
}

function polyline(
  points: readonly Point[],
  {
    x,
    y,
    colour,
    width,
  }: { readonly x: Scale; readonly y: Scale; readonly colour: string; readonly width: number },
): string {
  const places = points.map((point) => `${x.at(point.x).toFixed(1)},${y.at(point.y).toFixed(1)}`);
  return `<polyline points="${places.join(' ')}" fill="none" stroke="${colour}" stroke-width="${width}"/>`;
}

function boundaryLine(
  { name, x: place }: { readonly name: string; readonly x: number },
  x: Scale,
  y: Scale,
): string {
  const at = x.at(place).toFixed(1);
  return (
    `<line x1="${at}" y1="${y.at(y.high)}" x2="${at}" y2="${y.at(y.low)}" stroke="#9ca3af" stroke-dasharray="4 3"/>` +
    `<text x="${(x.at(place) + 4).toFixed(1)}" y="${(y.at(y.high) + 12).toFixed(1)}" fill="#6b7280">${escaped(name)}</text>`
  );
}
