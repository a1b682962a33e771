import { internalError } from '../src/shared/errors.js';
import type { Job } from './jobs.js';
import type { OpenBench } from './ours.js';

/** LoRA SimCSE: each batch's texts twice, packed, one optimizer step. */
export function openSimcse(job: Job): Promise<OpenBench> {
  return Promise.reject(internalError(`${job.name} waits for the training stages`));
}

/** MNTP: each batch's chunks of token ids, masked, one optimizer step. */
export function openMntp(job: Job): Promise<OpenBench> {
  return Promise.reject(internalError(`${job.name} waits for the training stages`));
}

/** Embeddings of each batch's texts by the exported folder. */
export function openEncoding(job: Job, folder: string): Promise<OpenBench> {
  return Promise.reject(internalError(`${job.name} waits for the embedder (${folder})`));
}

/** Exports the untouched decoder (causal, mean pooling) as a folder. */
export function exportForEncoding(job: Job, folder: string): Promise<void> {
  return Promise.reject(internalError(`${job.name} waits for the export (${folder})`));
}
