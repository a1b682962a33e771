import { describe, expect, it } from 'vitest';
import { ownPeakRssGb, runSide, type SideCommand } from '../../bench/processes.js';

function nodeSide(code: string, memoryLimitGb: number): SideCommand {
  return {
    label: 'test',
    command: process.execPath,
    arguments: ['-e', code],
    environment: {},
    memoryLimitGb,
  };
}

describe('runSide', () => {
  it('reads the report from the last line of standard output', async () => {
    const code =
      'console.log("loading"); console.log(JSON.stringify({ seconds: 1, realTokens: 2, multipliedTokens: 3, peakRssGb: 4 }))';
    const outcome = await runSide(nodeSide(code, 8));
    expect(outcome).toEqual({
      status: 'done',
      report: { seconds: 1, realTokens: 2, multipliedTokens: 3, peakRssGb: 4 },
    });
  });

  it('says why a side failed', async () => {
    expect(await runSide(nodeSide('process.exit(3)', 8))).toEqual({
      status: 'failed',
      reason: 'exit code 3',
    });
    expect(await runSide(nodeSide('console.log("no report")', 8))).toMatchObject({ status: 'failed' });
    const missing = { ...nodeSide('', 8), command: '/nowhere/at/all' };
    expect(await runSide(missing)).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining('ENOENT') as string,
    });
  });

  it.skipIf(process.platform !== 'linux')('stops a side that outgrows its memory', async () => {
    const code = 'const kept = []; setInterval(() => kept.push(new Uint8Array(5e7).fill(1)), 20)';
    const outcome = await runSide(nodeSide(code, 0.4));
    expect(outcome.status).toBe('does not fit');
    expect(outcome).toHaveProperty(
      'peakRssGb',
      expect.toSatisfy((peak: number) => peak > 0.4 && peak < 4),
    );
  });
});

describe('ownPeakRssGb', () => {
  it('is at least what is resident now', async () => {
    expect(await ownPeakRssGb()).toBeGreaterThanOrEqual((process.memoryUsage.rss() / 1e9) * 0.9);
  });
});
