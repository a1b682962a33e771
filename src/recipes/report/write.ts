import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { writeFileAtomic } from '../../shared/files.js';
import { readMetrics } from '../metrics.js';
import type { KeptRows } from '../run-evaluation.js';
import type { RunPaths } from '../run-folder.js';
import type { RunRecord } from '../run-record.js';
import type { RunConfig } from '../schema.js';
import { reportPage } from './page.js';

/** Writes report.html from what the run folder holds by now: readers see the old page or the new one. */
export async function writeReportPage({
  config,
  paths,
  record,
  rows,
}: {
  readonly config: RunConfig;
  readonly paths: RunPaths;
  readonly record: RunRecord;
  readonly rows: KeptRows;
}): Promise<void> {
  const page = reportPage({
    ...rows,
    name: basename(resolve(paths.folder)),
    record,
    metrics: await readMetrics(paths.metrics),
    stages: Object.entries(config.stages).map(([name, { maxSteps }]) => ({ name, steps: maxSteps })),
    threads: config.train.threads,
    config: await readFile(paths.config, 'utf8'),
  });
  await writeFileAtomic(paths.report, page);
}
