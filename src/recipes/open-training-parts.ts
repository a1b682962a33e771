import { internalError } from '../shared/errors.js';
import type { OpenTrainingParts } from './training-parts.js';

/** The compiled engine's parts of a training run. */
export const openTrainingParts: OpenTrainingParts = (config) =>
  Promise.reject(internalError(`stages cannot be trained yet: ${Object.keys(config.stages).join(', ')}`));
