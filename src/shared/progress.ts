import type { Logger } from './logger.js';

/** What is known after a step. */
export interface ProgressUpdate {
  readonly stage: string;
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  /** Real tokens of this step. */
  readonly tokens: number;
}

/** Shows how far a run is: a live line where there is a terminal, a log line every few steps where there is none. */
export interface Progress {
  update(update: ProgressUpdate): void;
  /** A line of its own, which stays. */
  message(text: string): void;
  /** Ends the live line. */
  end(): void;
}

export interface ProgressOptions {
  readonly logger: Logger;
  /** Where the live line goes, if that is a terminal. */
  readonly stream: { readonly isTTY?: boolean; readonly columns?: number; write(text: string): unknown };
  /** Without a terminal: a log line every n steps. */
  readonly logEverySteps: number;
  /** Milliseconds, from any origin. */
  readonly now?: () => number;
}

/** Steps that speed and remaining time are averaged over. */
const averagedSteps = 20;
const clearLine = '\r\u001b[2K';

export function createProgress(options: ProgressOptions): Progress {
  const { logger, stream } = options;
  const now = options.now ?? (() => performance.now());
  const live = stream.isTTY === true;
  let times: { readonly at: number; readonly tokens: number }[] = [{ at: now(), tokens: 0 }];
  let stage: string | undefined;
  let line = '';

  const clear = (): void => {
    if (line !== '') stream.write(clearLine);
  };
  const speed = (): { readonly secondsPerStep: number; readonly tokensPerSecond: number } => {
    const seconds = ((times.at(-1)?.at ?? 0) - (times[0]?.at ?? 0)) / 1000;
    const tokens = times.slice(1).reduce((sum, time) => sum + time.tokens, 0);
    const steps = times.length - 1;
    return { secondsPerStep: seconds / steps, tokensPerSecond: seconds > 0 ? tokens / seconds : 0 };
  };

  return {
    update(update) {
      // The time since the last step of another stage went into preparing this one: it says nothing about its speed.
      if (stage !== undefined && stage !== update.stage) times = times.slice(-1);
      stage = update.stage;
      times = [...times.slice(-averagedSteps), { at: now(), tokens: update.tokens }];
      const text = describeProgress(update, speed());
      if (live) {
        // A terminal that does not know its width says 0.
        const columns = stream.columns === undefined || stream.columns === 0 ? 80 : stream.columns;
        line = text.slice(0, columns - 1);
        stream.write(`${clearLine}${line}`);
      } else if (update.step % options.logEverySteps === 0 || update.step === update.steps) {
        logger.info(text);
      }
    },
    message(text) {
      clear();
      logger.info(text);
      if (line !== '') stream.write(line);
    },
    end() {
      if (line !== '') stream.write('\n');
      line = '';
    },
  };
}

function describeProgress(
  update: ProgressUpdate,
  speed: { readonly secondsPerStep: number; readonly tokensPerSecond: number },
): string {
  const { stage, step, steps, loss } = update;
  const rate = Math.round(speed.tokensPerSecond).toLocaleString('en');
  const left = formatDuration((steps - step) * speed.secondsPerStep);
  return `${stage} step ${step}/${steps}  loss ${loss.toFixed(4)}  ${rate} tokens/s  ETA ${left}`;
}

/** `1:02:03`, `2:03`, `0:03`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (value: number): string => String(value).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}
