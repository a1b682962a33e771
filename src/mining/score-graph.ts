import { matMul, type Tensor } from '@tensorflow/tfjs';
import type { Graph } from '../compiler/graph.js';
import { trace } from '../compiler/trace.js';
import { GROUP } from './best-documents.js';

/**
 * Scores of documents [D, E] for queries [Q, E], and the largest of each group of documents: `scores` [D, Q], `groups` [D / GROUP, Q].
 * Documents lie along the rows, so that the largest of a group is that of whole rows.
 */
export function scoreGraph(shape: {
  readonly documents: number;
  readonly queries: number;
  readonly dimensions: number;
}): Graph {
  const { documents, queries, dimensions } = shape;
  return trace(
    (inputs) => {
      const scores = matMul(inputs['documents'] as Tensor, inputs['queries'] as Tensor, false, true);
      return { scores, groups: scores.reshape([documents / GROUP, GROUP, queries]).max(1) };
    },
    {
      documents: { shape: [documents, dimensions], type: 'float32' },
      queries: { shape: [queries, dimensions], type: 'float32' },
    },
    { name: 'search' },
  );
}
