import { internalError } from '../shared/errors.js';
import type { ModelOptions } from './open-model.js';

export interface ExportEmbedderOptions extends ModelOptions {
  /** The embedder folder. */
  readonly output: string;
  /** Replace an older embedder folder. */
  readonly overwrite?: boolean;
}

/** Writes a model as an embedder folder that other tools open, verified; returns a sentence for the user. @throws UserError */
export function exportEmbedder(options: ExportEmbedderOptions): Promise<string> {
  return Promise.reject(internalError(`embedders cannot be exported yet: ${options.model}`));
}
