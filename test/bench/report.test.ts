import { describe, expect, it } from 'vitest';
import { greatestDifference, resultLine } from '../../bench/report.js';

const report = { seconds: 10, realTokens: 2000, multipliedTokens: 2100, peakRssGb: 2, weights: 1e8 };

describe('resultLine', () => {
  it('gives the ratio of real tokens a second and the share of the GEMM rate', () => {
    const peer = { seconds: 20, realTokens: 2000, multipliedTokens: 6000, peakRssGb: 8 };
    const line = resultLine({ name: 'simcse-dense', kind: 'simcse', ours: { report, gemmRate: 1e11 }, peer });
    // 200 / 100 tokens/s; 4 x 1e8 x 200 = 8e10 operations a second of 1e11.
    expect(JSON.parse(line)).toEqual({
      name: 'simcse-dense',
      ratio: 2,
      gemmShare: 0.8,
      ours: { seconds: 10, realTokens: 2000, multipliedTokens: 2100, peakRssGb: 2 },
      peer,
    });
  });

  it('counts one pass for encoding and null for a peer that does not fit', () => {
    const line = resultLine({
      name: 'encode',
      kind: 'encode',
      ours: { report, gemmRate: 1e11 },
      peer: undefined,
    });
    expect(JSON.parse(line)).toMatchObject({ ratio: null, gemmShare: 0.4, peer: null });
  });
});

describe('greatestDifference', () => {
  it('finds the largest one and does not overlook a missing row', () => {
    expect(
      greatestDifference(
        [
          [1, 2],
          [3, 4],
        ],
        [
          [1, 2.5],
          [3, 3.9],
        ],
      ),
    ).toBeCloseTo(0.5);
    expect(greatestDifference([[1]], [])).toBeNaN();
  });
});
