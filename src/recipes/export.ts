import { checkNewEmbedderFolder, exportFolder } from '../export/folder.js';
import { loadEmbeddingModel } from '../pooling/load-model.js';
import { recipeOverrides, type ModelOptions } from './open-model.js';

export interface ExportEmbedderOptions extends ModelOptions {
  /** The embedder folder. */
  readonly output: string;
  /** Replace an older embedder folder. */
  readonly overwrite?: boolean;
  /** Results as markdown, for the card. */
  readonly metrics?: string;
}

/** Writes a model as an embedder folder that other tools open, verified; returns a sentence for the user. @throws UserError */
export async function exportEmbedder(options: ExportEmbedderOptions): Promise<string> {
  const { model: path, output, overwrite, metrics, threads } = options;
  await checkNewEmbedderFolder(output, overwrite === true);
  const model = await loadEmbeddingModel(path, recipeOverrides(options));
  const { files } = await exportFolder(model, output, {
    ...(overwrite === undefined ? {} : { overwrite }),
    ...(metrics === undefined ? {} : { metrics }),
    ...(threads === undefined ? {} : { threads }),
  });
  const verified = files.map(
    ({ path: file, verification }) =>
      `${file} (differs from the model by at most ${verification.largestDifference.toExponential(1)})`,
  );
  return `${output}: ${verified.join(', ')}`;
}
