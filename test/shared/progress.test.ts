import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createProgress, formatDuration } from '../../src/shared/progress.js';

function setUp(isTTY: boolean, columns = 120) {
  const written: string[] = [];
  const logged: string[] = [];
  const logger = pino(
    {},
    { write: (line: string) => void logged.push((JSON.parse(line) as { msg: string }).msg) },
  );
  let time = 0;
  const progress = createProgress({
    logger,
    stream: { isTTY, columns, write: (text: string) => written.push(text) },
    logEverySteps: 10,
    now: () => time,
  });
  const step = (index: number, milliseconds: number, stage = 'simcse') => {
    time += milliseconds;
    progress.update({ stage, step: index, steps: 100, loss: 1 / 3, tokens: 500 });
  };
  return { progress, step, written, logged };
}

describe('progress on a terminal', () => {
  it('is one line with stage, step, loss, tokens/s and the time left', () => {
    const { step, written, logged, progress } = setUp(true);
    step(1, 250);
    step(2, 250);
    expect(written.at(-1)).toBe('\r\u001b[2Ksimcse step 2/100  loss 0.3333  2,000 tokens/s  ETA 0:25');
    progress.end();
    expect(written.join('').endsWith('\n')).toBe(true);
    expect(logged).toEqual([]);
  });

  it('makes room for messages and comes back', () => {
    const { step, written, logged, progress } = setUp(true);
    progress.message('before');
    step(1, 1000);
    progress.message('evaluated');
    expect(logged).toEqual(['before', 'evaluated']);
    expect(written.slice(1)).toEqual([
      '\r\u001b[2K',
      'simcse step 1/100  loss 0.3333  500 tokens/s  ETA 1:39',
    ]);
  });

  it('never wraps', () => {
    const { step, written } = setUp(true, 20);
    step(1, 1000);
    expect(written.at(-1)?.replace('\r\u001b[2K', '')).toHaveLength(19);
  });

  it('averages over the last steps of the stage only', () => {
    const { step, written } = setUp(true);
    step(1, 60_000, 'mntp');
    for (let i = 1; i <= 30; i++) step(i, 500);
    expect(written.at(-1)).toContain('1,000 tokens/s  ETA 0:35');
  });
});

describe('progress without a terminal', () => {
  it('is a plain log line every few steps and at the last', () => {
    const { step, written, logged } = setUp(false);
    for (const index of [1, 9, 10, 11, 20, 99, 100]) step(index, 500);
    expect(written).toEqual([]);
    expect(logged.map((line) => /step (\d+)/.exec(line)?.[1])).toEqual(['10', '20', '100']);
  });
});

describe('durations', () => {
  it.each([
    [0, '0:00'],
    [-3, '0:00'],
    [59.6, '1:00'],
    [754, '12:34'],
    [3723, '1:02:03'],
  ])('%s s is %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
});
