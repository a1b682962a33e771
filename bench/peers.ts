import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { assertNever, userError } from '../src/shared/errors.js';
import { packageFolder } from '../src/shared/package.js';
import type { Job, PeerName } from './jobs.js';
import { nodeCommand, runSide, type SideCommand, type SideOutcome } from './processes.js';

export interface PeerSettings {
  readonly job: Job;
  readonly jobPath: string;
  /** Where converted models are kept between runs. */
  readonly cache: string;
  readonly memoryLimitGb: number;
  /** The folder that our side exported, for peers that run the same file. */
  readonly exported: string | undefined;
}

/** Runs a peer on the job that our side had. */
export async function runPeer(peer: PeerName, settings: PeerSettings): Promise<SideOutcome> {
  return runSide(await peerCommand(peer, settings));
}

async function peerCommand(peer: PeerName, settings: PeerSettings): Promise<SideCommand> {
  const { jobPath } = settings;
  switch (peer) {
    case 'eager':
    case 'checkpoint':
      return pythonSide(`pytorch ${peer}`, settings, [
        'simcse_step.py',
        await huggingFaceFolder(settings),
        jobPath,
        peer,
      ]);
    case 'sentence-transformers':
      return pythonSide(peer, settings, ['encode_st.py', await huggingFaceFolder(settings), jobPath]);
    case 'sentence-transformers training':
    case 'sentence-transformers checkpoint':
      return pythonSide(peer, settings, [
        'contrastive_st.py',
        await huggingFaceFolder(settings),
        jobPath,
        peer === 'sentence-transformers training' ? 'eager' : 'checkpoint',
      ]);
    case 'faiss':
      return pythonSide(peer, settings, ['search_faiss.py', jobPath]);
    case 'llm2vec': {
      const folder = `${await huggingFaceFolder(settings)}-444`;
      return pythonSide(peer, settings, ['mntp_llm2vec.py', folder, jobPath], 'PEER_PYTHON_LLM2VEC');
    }
    case 'transformers.js': {
      if (settings.exported === undefined)
        throw new Error('internal: transformers.js needs the exported folder');
      const node = nodeCommand(import.meta.url, './peers/encode-transformers-js');
      return {
        label: peer,
        command: node.command,
        arguments: [...node.arguments, settings.exported, jobPath],
        environment: {},
        memoryLimitGb: settings.memoryLimitGb,
      };
    }
    default:
      return assertNever(peer);
  }
}

type PythonVariable = 'PEER_PYTHON' | 'PEER_PYTHON_LLM2VEC';

/** Says before anything is measured which variable is missing. */
export function checkPeerPythons(peers: readonly PeerName[]): void {
  for (const peer of peers) {
    if (peer === 'transformers.js') continue;
    python('PEER_PYTHON');
    if (peer === 'llm2vec') python('PEER_PYTHON_LLM2VEC');
  }
}

function python(variable: PythonVariable): string {
  const path = process.env[variable];
  if (path !== undefined && existsSync(path)) return path;
  const packages =
    variable === 'PEER_PYTHON'
      ? 'torch, transformers 5, peft, gguf and sentence-transformers (faiss-cpu for mining)'
      : 'llm2vec 0.2.3';
  throw userError({
    what: `${variable} must name a Python with ${packages}`,
    got: path ?? 'nothing',
    hint: 'or measure our side alone with --side ours',
  });
}

function pythonSide(
  label: string,
  { job, memoryLimitGb }: PeerSettings,
  [script = '', ...rest]: readonly string[],
  variable: PythonVariable = 'PEER_PYTHON',
): SideCommand {
  const environment = {
    OMP_NUM_THREADS: String(job.threads),
    HF_HUB_OFFLINE: '1',
    TOKENIZERS_PARALLELISM: 'true',
    PYTHONWARNINGS: 'ignore',
  };
  return {
    label,
    command: python(variable),
    arguments: [peerScript(script), ...rest],
    environment,
    memoryLimitGb,
  };
}

function peerScript(name: string): string {
  return join(packageFolder, 'bench', 'peers', name);
}

/** The job's model as a Hugging Face folder, converted once and kept; `-444` beside it is for llm2vec. */
async function huggingFaceFolder(settings: PeerSettings): Promise<string> {
  const model = resolve(settings.job.model);
  const { size, mtimeMs } = await stat(model);
  const folder = join(settings.cache, `${basename(model)}-${size}-${Math.floor(mtimeMs)}`);
  if (existsSync(folder) && existsSync(`${folder}-444`)) return folder;
  const convert = pythonSide('prepare', settings, ['prepare.py', model, folder]);
  const outcome = await runSide(convert);
  if (outcome.status === 'failed') throw new Error(`prepare.py: ${outcome.reason}`);
  if (outcome.status === 'does not fit') throw new Error('prepare.py needs more memory than --memory-limit');
  return folder;
}
