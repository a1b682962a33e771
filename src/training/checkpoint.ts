import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { openSafetensors } from '../models/weights/safetensors.js';
import { writeSafetensors } from '../models/weights/safetensors-writer.js';
import { internalError, userError } from '../shared/errors.js';
import { exists, writeFileAtomic, writeFolderAtomic } from '../shared/files.js';
import type { TrainingState } from './stage-runner.js';

const bestSchema = z.strictObject({ stage: z.string(), step: z.int().min(0), score: z.number() });

/** The best evaluation so far. */
export type Best = Readonly<z.output<typeof bestSchema>>;

const stateSchema = z.strictObject({
  format: z.literal(1),
  stage: z.string(),
  /** Steps of the stage that are done. */
  step: z.int().min(0),
  optimizerStep: z.int().min(0),
  seed: z.int(),
  best: bestSchema.nullable(),
  /** Of float16. */
  lossScale: z.strictObject({ scale: z.number().gt(0), goodSteps: z.int().min(0) }).optional(),
});

export interface CheckpointInfo {
  readonly stage: string;
  readonly step: number;
  readonly seed: number;
  readonly best: Best | null;
}

export interface Checkpoint extends CheckpointInfo {
  readonly state: TrainingState;
}

/** A checkpoint that was read. */
export interface SavedCheckpoint extends CheckpointInfo {
  /** Its state, handed out once: who asks for it owns it, and nobody else holds the memory. */
  takeState(): TrainingState;
}

export interface CheckpointPlace {
  readonly path: string;
  readonly stage: string;
  readonly step: number;
}

/** `mntp-step-000100`; the outcome of a finished stage is `mntp-final`. */
const stepName = /^(.+)-step-(\d{6,})$/;

/**
 * Writes `<folder>/<stage>-step-000100/`, whole or not at all: parameters and AdamW's moments as float32, the rest as JSON,
 * so that reading it gives back every bit.
 * @throws UserError where a parameter is not finite: such a state must not replace a good one.
 */
export async function writeCheckpoint(folder: string, checkpoint: Checkpoint): Promise<string> {
  const path = join(folder, `${checkpoint.stage}-step-${String(checkpoint.step).padStart(6, '0')}`);
  const { parameters, optimizer, lossScale } = checkpoint.state;
  assertFinite(parameters, checkpoint);
  await writeFolderAtomic(path, async (temporary) => {
    await writeTensors(join(temporary, 'parameters.safetensors'), parameters);
    await writeTensors(join(temporary, 'adamw-m.safetensors'), optimizer.m);
    await writeTensors(join(temporary, 'adamw-v.safetensors'), optimizer.v);
    const state: z.output<typeof stateSchema> = {
      format: 1,
      stage: checkpoint.stage,
      step: checkpoint.step,
      optimizerStep: optimizer.step,
      seed: checkpoint.seed,
      best: checkpoint.best,
      ...(lossScale === undefined ? {} : { lossScale }),
    };
    await writeFileAtomic(join(temporary, 'state.json'), `${JSON.stringify(state, null, 2)}\n`);
  });
  return path;
}

/** @throws UserError where a file is missing or broken. */
export async function readCheckpoint(path: string): Promise<SavedCheckpoint> {
  const file = join(path, 'state.json');
  const parsed = stateSchema.safeParse(parseJson(await readFile(file, 'utf8').catch(() => '')));
  if (!parsed.success)
    throw userError({ what: 'broken checkpoint', where: file, expected: 'the state of a stage' });
  const { optimizerStep, stage, step, seed, best, lossScale } = parsed.data;
  let state: TrainingState | undefined = {
    parameters: await readTensors(join(path, 'parameters.safetensors')),
    optimizer: {
      step: optimizerStep,
      m: await readTensors(join(path, 'adamw-m.safetensors')),
      v: await readTensors(join(path, 'adamw-v.safetensors')),
    },
    ...(lossScale === undefined ? {} : { lossScale }),
  };
  const takeState = (): TrainingState => {
    const taken = state;
    if (taken === undefined) throw internalError('the state of a checkpoint is taken twice');
    state = undefined;
    return taken;
  };
  return { stage, step, seed, best, takeState };
}

/** The checkpoint that a run goes on from: of the latest stage, in the order of `stages`, the latest step. */
export async function latestCheckpoint(
  folder: string,
  stages: readonly string[],
): Promise<CheckpointPlace | undefined> {
  return (await listCheckpoints(folder, stages)).at(-1);
}

/** Removes all but the last `keep` checkpoints. Outcomes of finished stages stay: a resumed run merges them. */
export async function pruneCheckpoints(folder: string, stages: readonly string[], keep = 2): Promise<void> {
  const places = await listCheckpoints(folder, stages);
  for (const place of places.slice(0, -keep)) await rm(place.path, { recursive: true, force: true });
}

async function listCheckpoints(folder: string, stages: readonly string[]): Promise<CheckpointPlace[]> {
  const names = (await exists(folder)) ? await readdir(folder) : [];
  return names
    .flatMap((name) => {
      const [, stage = '', digits = ''] = stepName.exec(name) ?? [];
      return stages.includes(stage) ? [{ path: join(folder, name), stage, step: Number(digits) }] : [];
    })
    .sort((a, b) => stages.indexOf(a.stage) - stages.indexOf(b.stage) || a.step - b.step);
}

/** Writes the trained parameters of a finished stage to `<folder>/<stage>-final/`. */
export async function writeFinal(
  folder: string,
  stage: string,
  parameters: ReadonlyMap<string, Float32Array>,
): Promise<void> {
  await writeFolderAtomic(finalPath(folder, stage), (temporary) =>
    writeTensors(join(temporary, 'parameters.safetensors'), parameters),
  );
}

/** The trained parameters of a finished stage; undefined where it is not finished. */
export async function readFinal(
  folder: string,
  stage: string,
): Promise<Map<string, Float32Array> | undefined> {
  const path = finalPath(folder, stage);
  return (await exists(path)) ? readTensors(join(path, 'parameters.safetensors')) : undefined;
}

function finalPath(folder: string, stage: string): string {
  return join(folder, `${stage}-final`);
}

function assertFinite(parameters: ReadonlyMap<string, Float32Array>, checkpoint: CheckpointInfo): void {
  for (const [name, values] of parameters) {
    if (values.every(Number.isFinite)) continue;
    throw userError({
      what: `parameter ${name} of stage ${checkpoint.stage} is not finite at step ${checkpoint.step}, so the run was stopped`,
      hint: 'the last checkpoint is from before; a lower learningRate may help',
    });
  }
}

async function writeTensors(path: string, tensors: ReadonlyMap<string, Float32Array>): Promise<void> {
  await writeSafetensors(
    path,
    [...tensors].map(([name, data]) => ({ name, data, shape: [data.length], storedType: 'F32' as const })),
  );
}

async function readTensors(path: string): Promise<Map<string, Float32Array>> {
  const store = await openSafetensors(path);
  try {
    const tensors = new Map<string, Float32Array>();
    for (const name of store.names) tensors.set(name, await store.read(name));
    return tensors;
  } finally {
    await store.close();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
