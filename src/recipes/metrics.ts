import { appendFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { atPath, writeFileAtomic } from '../shared/files.js';

/** One line of metrics.jsonl: what happened after `step` steps of `stage`. */
export interface MetricsRecord {
  readonly kind: 'step' | 'evaluation';
  readonly stage: string;
  readonly step: number;
  readonly [name: string]: unknown;
}

/** Appends one JSON line at once, so that a killed run leaves whole lines. Values that JSON lacks (NaN) become null. */
export function appendMetrics(path: string, record: MetricsRecord): void {
  try {
    appendFileSync(path, `${JSON.stringify({ time: new Date().toISOString(), ...record })}\n`);
  } catch (error) {
    throw atPath(error, () => path);
  }
}

/** The whole lines of metrics.jsonl; none where there is no such file yet. */
export async function readMetrics(path: string): Promise<MetricsRecord[]> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => recordOf(line) ?? []);
}

/**
 * Cuts what a resumed run will do again: the lines past `step` of `stage`, and a last line that was not written to its end.
 * Without a place everything goes.
 */
export async function cutMetrics(
  path: string,
  stages: readonly string[],
  from: { readonly stage: string; readonly step: number } | undefined,
): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const kept = text.split('\n').filter((line) => from !== undefined && isBefore(line, stages, from));
  await writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''));
}

function isBefore(
  line: string,
  stages: readonly string[],
  from: { readonly stage: string; readonly step: number },
): boolean {
  const record = recordOf(line);
  if (record === undefined) return false;
  const { stage, step } = record;
  const order = stages.indexOf(stage) - stages.indexOf(from.stage);
  return stages.includes(stage) && (order < 0 || (order === 0 && step <= from.step));
}

function recordOf(line: string): MetricsRecord | undefined {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof record !== 'object' || record === null) return undefined;
  const { stage, step } = record as { readonly stage?: unknown; readonly step?: unknown };
  return typeof stage === 'string' && typeof step === 'number' ? (record as MetricsRecord) : undefined;
}
