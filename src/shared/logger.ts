import { pino, type Logger } from 'pino';
import pretty from 'pino-pretty';

/** Log lines go to standard error, so that standard output carries results only. */
export function createLogger(level = process.env['LMVEC_LOG_LEVEL'] ?? 'info'): Logger {
  const stream = pretty({
    destination: 2,
    sync: true,
    colorize: process.stderr.isTTY,
    ignore: 'pid,hostname',
    translateTime: 'HH:MM:ss',
  });
  return pino({ level }, stream);
}

export type { Logger };
