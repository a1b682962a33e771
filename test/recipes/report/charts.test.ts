import { describe, expect, it } from 'vitest';
import { ticks } from '../../../src/recipes/report/axes.js';
import { shares } from '../../../src/recipes/report/histogram.js';
import { definitions, escaped, htmlTable } from '../../../src/recipes/report/html.js';
import { lineChart, smoothed } from '../../../src/recipes/report/line-chart.js';

const hostile = `<script>alert("1")</script>&'`;

describe('text in the page', () => {
  it('is text, whatever is in it', () => {
    expect(escaped(hostile)).toBe('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;');
    const parts = [
      htmlTable([[hostile], [hostile]]),
      definitions([[hostile, hostile]]),
      lineChart({ title: hostile, xLabel: hostile, curves: [{ name: hostile, points: [{ x: 0, y: 1 }] }] }),
    ];
    for (const part of parts) expect(part).not.toMatch(/<script|"1"/);
  });
});

describe('ticks', () => {
  it('are round numbers within the range', () => {
    expect(ticks({ low: 0, high: 1 })).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(ticks({ low: 28.4, high: 69.6 })).toEqual([30, 40, 50, 60]);
    expect(ticks({ low: -0.003, high: 0.004 }, 7)).toEqual([
      -0.003, -0.002, -0.001, 0, 0.001, 0.002, 0.003, 0.004,
    ]);
    expect(ticks({ low: 5, high: 5 })).toEqual([5]);
  });
});

describe('a line chart', () => {
  const placesOf = (svg: string): number[][] =>
    [...svg.matchAll(/<polyline points="([^"]*)"/g)].map(([, points = '']) =>
      points.split(' ').flatMap((point) => point.split(',').map(Number)),
    );

  it('rises where the values rise, and leaves out what is not finite', () => {
    const points = [1, NaN, 3, Infinity, 5].map((y, x) => ({ x, y }));
    const [places = []] = placesOf(
      lineChart({ title: 't', xLabel: 'step', curves: [{ name: 'a', points }] }),
    );
    expect(places).toHaveLength(6);
    const [x1, y1, x2, y2, x3, y3] = places as [number, number, number, number, number, number];
    expect([x1 < x2, x2 < x3, y1 > y2, y2 > y3]).toEqual([true, true, true, true]);
    expect(x2 - x1).toBeCloseTo(x3 - x2, 5);
    expect(y1 - y2).toBeCloseTo(y2 - y3, 5);
  });

  it('is nothing without a finite point, and stays small with a million', () => {
    expect(
      lineChart({ title: 't', xLabel: 'step', curves: [{ name: 'a', points: [{ x: 0, y: NaN }] }] }),
    ).toBe('');
    const points = Array.from({ length: 1_000_000 }, (_, x) => ({ x, y: Math.sin(x) }));
    expect(lineChart({ title: 't', xLabel: 'step', curves: [{ name: 'a', points }] }).length).toBeLessThan(
      20_000,
    );
  });

  it('one value everywhere is a level line', () => {
    const [places = []] = placesOf(
      lineChart({
        title: 't',
        xLabel: 'step',
        curves: [{ name: 'a', points: [0, 1].map((x) => ({ x, y: 2 })) }],
      }),
    );
    expect(places.every(Number.isFinite)).toBe(true);
    expect(places[1]).toBe(places[3]);
  });
});

describe('smoothed', () => {
  it('of a constant is the constant, of noise the mean', () => {
    const constant = smoothed([0, 1, 2].map((x) => ({ x, y: 4 })));
    for (const { y } of constant) expect(y).toBeCloseTo(4, 12);
    const noise = smoothed(Array.from({ length: 400 }, (_, x) => ({ x, y: x % 2 })));
    expect(noise.at(-1)?.y).toBeCloseTo(0.5, 1);
    expect(smoothed([{ x: 0, y: NaN }])).toEqual([]);
  });
});

describe('shares', () => {
  it('add up to 1, with both ends inside', () => {
    const all = shares([-1, -0.001, 0, 0.999, 1]);
    expect(all).toHaveLength(40);
    expect(all.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
    expect([all[0], all[19], all[20], all[39]]).toEqual([0.2, 0.2, 0.2, 0.4]);
    expect(shares([NaN]).every((share) => share === 0)).toBe(true);
  });
});
