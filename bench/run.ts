import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { totalmem, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { checkDevice, choosePrecision } from '../src/compiler/check-device.js';
import { devices, type Device } from '../src/compiler/device.js';
import { computePrecisions, type ComputePrecision } from '../src/compiler/precision.js';
import { userError, UserError } from '../src/shared/errors.js';
import { createLogger } from '../src/shared/logger.js';
import { makeBatches } from './batches.js';
import { gemmRate } from './gemm.js';
import {
  benches,
  benchNames,
  type Bench,
  type BenchName,
  type Job,
  type PeerName,
  type SideReport,
} from './jobs.js';
import { methodsCommand } from './methods.js';
import { checkPeerPythons, runPeer, type PeerSettings } from './peers.js';
import { nodeCommand, ownEnvironment, runSide, type SideOutcome } from './processes.js';
import { greatestDifference, resultLine, tokensPerSecond, type Measured } from './report.js';

const log = createLogger();

interface Settings {
  readonly name: BenchName;
  readonly model: string;
  readonly data: string;
  readonly threads: number;
  readonly device: Device;
  readonly precision: ComputePrecision;
  readonly side: 'both' | 'ours' | 'peers';
  readonly batches: number;
  readonly warmup: number;
  readonly seed: number;
  readonly cache: string;
  readonly memoryLimitGb: number;
}

/** Measures one bench: the machine's GEMM rate, our side, the rate again, then the peers, each in a process of its own on the same batches. */
async function run(settings: Settings): Promise<void> {
  const bench = benches[settings.name];
  const { side } = settings;
  if (side !== 'ours') checkPeerPythons(bench.peers);
  await choosePrecision(settings.device, settings.precision);
  const folder = await mkdtemp(join(tmpdir(), 'lmvec-bench-run-'));
  try {
    const job = await makeJob(bench, settings);
    const jobPath = join(folder, 'job.json');
    await writeFile(jobPath, JSON.stringify(job));
    log.info(
      `${job.name}: ${job.batches.length} batches, the first ${job.warmup} to warm up; seed ${job.seed}`,
    );
    const exported = bench.peers.includes('transformers.js') ? join(folder, 'embedder') : undefined;
    if (exported !== undefined) reportOf(await runOurs(['export', jobPath, exported], settings), 'export');
    const ours =
      side === 'peers'
        ? undefined
        : await measureOurs([job.kind, jobPath, ...(exported ? [exported] : [])], settings);
    const peerSettings = {
      job,
      jobPath,
      cache: settings.cache,
      memoryLimitGb: settings.memoryLimitGb,
      exported,
    };
    const peers = side === 'ours' ? [] : await measurePeers(bench.peers, peerSettings);
    compareSamples(ours, peers);
    const best = peers.toSorted((a, b) => tokensPerSecond(b.report) - tokensPerSecond(a.report))[0];
    log.info(`bar: ${JSON.stringify(bench.bar)}`);
    console.log(resultLine({ name: settings.name, kind: bench.kind, ours, peer: best?.report }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function makeJob(bench: Bench, settings: Settings): Promise<Job> {
  const { model, data, seed, warmup, cache } = settings;
  const batches = await makeBatches({
    bench,
    model,
    data,
    seed,
    warmup,
    cache,
    count: warmup + settings.batches,
  });
  return {
    name: settings.name,
    kind: bench.kind,
    model: resolve(model),
    threads: settings.threads,
    device: settings.device,
    precision: settings.precision,
    seed,
    warmup,
    maxTokens: bench.maxTokens,
    policy: bench.policy,
    memory: bench.memory,
    lora: { rank: 16, alpha: 32, dropout: 0.05 },
    attentionDropout: 0.3,
    learningRate: bench.kind === 'mntp' ? 5e-5 : 3e-5,
    scale: 20,
    maskRatio: 0.2,
    ...(bench.chunkTexts === undefined ? {} : { chunkTexts: bench.chunkTexts }),
    batches,
  };
}

async function measureOurs(commandLine: readonly string[], settings: Settings): Promise<Measured> {
  const before = await rateOf(settings);
  const report = reportOf(await runOurs(commandLine, settings), 'lmvec');
  const after = await rateOf(settings);
  log.info(`GEMM rate: ${(before / 1e9).toFixed(0)} GFLOPS before, ${(after / 1e9).toFixed(0)} after`);
  describe('lmvec', report);
  return { report, gemmRate: (before + after) / 2 };
}

/** Floating-point operations per second of a matrix product, its matrices in the memory of the process. */
async function rateOf({ device, precision, threads }: Settings): Promise<number> {
  if (device === 'cpu') return gemmRate(threads);
  const check = await checkDevice(device, 4096, { precision });
  if (!check.works) throw userError({ what: `no ${device}`, got: check.reason, hint: check.hint });
  return check.flopsPerSecond;
}

function runOurs(commandLine: readonly string[], settings: Settings): Promise<SideOutcome> {
  const node = nodeCommand(import.meta.url, './ours');
  return runSide({
    label: 'lmvec',
    command: node.command,
    arguments: [...node.arguments, ...commandLine],
    environment: ownEnvironment,
    memoryLimitGb: settings.memoryLimitGb,
  });
}

interface PeerMeasurement {
  readonly peer: PeerName;
  readonly report: SideReport;
}

async function measurePeers(peers: readonly PeerName[], settings: PeerSettings): Promise<PeerMeasurement[]> {
  const measured: PeerMeasurement[] = [];
  for (const peer of peers) {
    const outcome = await runPeer(peer, settings);
    if (outcome.status === 'does not fit') {
      log.info(`${peer}: does not fit, stopped at ${outcome.peakRssGb.toFixed(1)} GB resident`);
    } else {
      const report = reportOf(outcome, peer);
      describe(peer, report);
      measured.push({ peer, report });
    }
  }
  return measured;
}

function reportOf(outcome: SideOutcome, label: string): SideReport {
  if (outcome.status === 'done') return outcome.report;
  const reason =
    outcome.status === 'failed' ? outcome.reason : `stopped at ${outcome.peakRssGb.toFixed(1)} GB resident`;
  throw new Error(`${label}: ${reason}`);
}

function describe(label: string, report: SideReport): void {
  const rate = tokensPerSecond(report).toFixed(0);
  const filled = ((100 * report.realTokens) / report.multipliedTokens).toFixed(0);
  log.info(
    `${label}: ${rate} real tokens/s (${report.realTokens} in ${report.seconds.toFixed(2)} s, ${filled} % of those multiplied), peak ${report.peakRssGb.toFixed(2)} GB`,
  );
}

/** Both sides must have done the same work: the same tokens, and equal embeddings where they give some. */
function compareSamples(ours: Measured | undefined, peers: readonly PeerMeasurement[]): void {
  if (ours === undefined) return;
  for (const { peer, report } of peers) {
    if (report.realTokens !== ours.report.realTokens) {
      log.warn(`${peer} counted ${report.realTokens} real tokens, lmvec ${ours.report.realTokens}`);
    }
    if (ours.report.sample === undefined || report.sample === undefined) continue;
    log.info(
      `embeddings of lmvec and ${peer} differ by at most ${greatestDifference(ours.report.sample, report.sample).toExponential(1)}`,
    );
  }
}

await methodsCommand(yargs(hideBin(process.argv)).scriptName('npm run bench --'))
  .command(
    '$0 <NAME>',
    'Measure lmvec and its peer on the same work; the last line of standard output is JSON.',
    (command) =>
      command.positional('NAME', { choices: benchNames, demandOption: true }).options({
        model: {
          type: 'string',
          demandOption: true,
          describe: 'decoder: a GGUF file or a Hugging Face folder',
        },
        data: { type: 'string', demandOption: true, describe: 'folder with corpus/, STSb/ and SNLI/' },
        threads: { type: 'number', default: 2 },
        device: {
          choices: devices,
          default: 'cpu' as const,
          describe: 'of our side; PyTorch runs on CUDA where it is not cpu',
        },
        precision: {
          choices: computePrecisions,
          default: 'float32' as const,
          describe: 'what the blocks of our side multiply in, where it trains',
        },
        side: { choices: ['both', 'ours', 'peers'] as const, default: 'both' as const },
        batches: {
          type: 'number',
          default: 6,
          describe: 'measured batches (encode always takes the whole test set)',
        },
        warmup: { type: 'number', default: 1, describe: 'batches before them' },
        seed: { type: 'number', default: 0 },
        cache: {
          type: 'string',
          default: join(tmpdir(), 'lmvec-bench'),
          describe: 'where converted models for the peers are kept',
        },
        memoryLimit: {
          type: 'number',
          default: Math.min(20, Math.floor((totalmem() / 1e9) * 0.85)),
          describe: 'gigabytes above which a side is stopped and counts as not fitting',
        },
      }),
    async (given) => {
      try {
        await run({ ...given, name: given.NAME, memoryLimitGb: given.memoryLimit });
      } catch (error) {
        console.error(error instanceof UserError ? error.message : error);
        process.exitCode = error instanceof UserError ? 2 : 1;
      }
    },
  )
  .strict()
  .parseAsync();
