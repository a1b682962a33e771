import type { Tensor } from '@tensorflow/tfjs';
import { lossAndGradients, traceGradient } from '../../compiler/compile.js';
import { mostLiveBytes, valueBytes } from '../../compiler/live-bytes.js';
import { savedBytes, splitGraph } from '../../compiler/split.js';
import { trace, type InputSpec } from '../../compiler/trace.js';
import { headName, type Decoder } from '../../models/decoder.js';
import { isPacked } from '../../models/resident.js';
import type { Tile } from '../../models/tiles.js';
import { outputShapes } from '../../models/weight-shapes.js';
import type { EmbeddingRecipe } from '../../pooling/embedding-model.js';
import { chosenLayers } from '../../pooling/layers.js';
import { hiddenNames, poolingFunction, poolingWorkspace, textInputs } from '../../pooling/pooled-texts.js';
import { createPooling } from '../../pooling/registry.js';
import { packedHeadBytes } from '../objectives/packed-head.js';
import { targetsOfCall, vocabularyLoss, vocabularyWeights } from '../objectives/vocabulary-head.js';

/** Workspace in the most that is alive in our order of the nodes: see block-bytes.ts. */
const ARENA = 1.2;

/** Bytes that norm, head and cross-entropy take for so many targets; those of trained weights are their gradients. */
export function vocabularyBytes(
  decoder: Decoder,
  { targets, trained }: { readonly targets: number; readonly trained: boolean },
): number {
  const head = decoder.weights.get(headName(decoder));
  if (head !== undefined && isPacked(head)) return packedHeadBytes(decoder.config);
  const count = targetsOfCall(targets, decoder);
  const names = vocabularyWeights(decoder);
  const float = (shape: readonly number[]): InputSpec => ({ shape, type: 'float32' });
  const inputs: Record<string, InputSpec> = {
    hidden: float([count, decoder.config.hidden_size]),
    labels: { shape: [count], type: 'int32' },
    weights: float([count]),
    ...Object.fromEntries(names.map((name) => [name, float(decoder.shapes.get(name) ?? [])])),
  };
  const graph = trace(
    lossAndGradients((tensors) => vocabularyLoss(tensors, decoder), ['hidden', ...(trained ? names : [])]),
    inputs,
    { name: 'memory estimate' },
  );
  const outputs = graph.outputs.reduce((sum, output) => sum + valueBytes(output), 0);
  return ARENA * mostLiveBytes(graph) + outputs;
}

export interface PoolingBytes {
  /** Kept of a tile for the backward pass. */
  readonly saved: number;
  /** Workspace of its two programs. */
  readonly workspace: number;
  /** Whether programs of every shape hold theirs; the largest of them at a time where not. */
  readonly keepsWorkspace: boolean;
}

/** What the final norm and the pooling take for a tile. */
export function poolingBytes(
  tile: Tile,
  {
    decoder: { config, shapes },
    recipe,
    trained,
  }: { readonly decoder: Decoder; readonly recipe: EmbeddingRecipe; readonly trained: boolean },
): PoolingBytes {
  const pooling = createPooling(recipe.pooling, config);
  const chosen = chosenLayers(recipe.pooling, config.num_hidden_layers);
  const hidden = hiddenNames(chosen);
  const inputs: Record<string, InputSpec> = {};
  for (const name of hidden)
    inputs[name] = { shape: [tile.rows, tile.tokensPerRow, config.hidden_size], type: 'float32' };
  for (const [name, { dims, type }] of Object.entries(textInputs(tile)))
    inputs[name] = { shape: dims, type: type as InputSpec['type'] };
  const output = chosen.normed ? Object.keys(outputShapes(config)) : [];
  for (const name of output) inputs[name] = { shape: shapes.get(name) ?? [], type: 'float32' };
  for (const [name, shape] of pooling.parameterShapes ?? []) inputs[name] = { shape, type: 'float32' };
  const parameters = [...(pooling.parameterShapes?.keys() ?? [])];
  const graph = traceGradient(
    (tensors): Tensor => poolingFunction(pooling, { config, chosen })(tensors),
    inputs,
    { name: 'memory estimate', wrt: [...hidden, ...(trained ? output : []), ...parameters] },
  );
  const { forward, backward, saved } = splitGraph(graph, {
    outputs: ['output'],
    outputGradient: 'outputGradient',
    policy: 'all',
  });
  const { keepsWorkspace } = poolingWorkspace([pooling]);
  const live = [mostLiveBytes(forward), mostLiveBytes(backward)] as const;
  return {
    saved: savedBytes(saved),
    workspace: ARENA * (keepsWorkspace ? live[0] + live[1] : Math.max(...live)),
    keepsWorkspace,
  };
}
