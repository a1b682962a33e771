import { assertNever } from '../shared/errors.js';
import {
  blockPrefix,
  structureOf,
  type BlockConfig,
  type ExpertsConfig,
  type DecoderConfig,
  type FeedForwardConfig,
  type NormConfig,
} from './decoder-config.js';
import { normShapes } from './norms.js';

/** A matrix of a block: y [N, out] = x [N, in] times it. */
export interface BlockMatrix {
  readonly out: number;
  readonly in: number;
  readonly bias: boolean;
  /** One of many experts: `targetModules: all` leaves it as it is. */
  readonly expert?: true;
}

/** The matrices of a block by name without the layer's prefix: what an adapter can be put on. */
export function blockMatrices(config: BlockConfig, hidden: number): Readonly<Record<string, BlockMatrix>> {
  const { heads, keyHeads, headDim, projection, inputBias, output, outputBias } = config.attention;
  const input = (count: number): BlockMatrix => ({ out: count * headDim, in: hidden, bias: inputBias });
  const matrices: Record<string, BlockMatrix> = {
    ...(projection.kind === 'separate'
      ? {
          [projection.query]: input(heads),
          [projection.key]: input(keyHeads),
          [projection.value]: input(keyHeads),
        }
      : { [projection.weight]: input(heads + 2 * keyHeads) }),
    [output]: { out: hidden, in: heads * headDim, bias: outputBias },
    ...feedForwardMatrices(config.feedForward, hidden),
  };
  if (config.addedBiases !== true) return matrices;
  return Object.fromEntries(
    Object.entries(matrices).map(([name, matrix]) => [
      name,
      matrix.expert === true ? matrix : { ...matrix, bias: true },
    ]),
  );
}

function feedForwardMatrices(config: FeedForwardConfig, hidden: number): Record<string, BlockMatrix> {
  if (config.kind === 'experts') return expertMatrices(config, hidden);
  const into = (out: number): BlockMatrix => ({ out, in: hidden, bias: config.bias });
  const last = { [config.down]: { out: hidden, in: config.width, bias: config.bias } };
  switch (config.kind) {
    case 'gated':
      return { [config.gate]: into(config.width), [config.up]: into(config.width), ...last };
    case 'joinedGate':
      return { [config.gateUp]: into(2 * config.width), ...last };
    case 'plain':
      return { [config.up]: into(config.width), ...last };
    default:
      return assertNever(config);
  }
}

function expertMatrices(config: ExpertsConfig, hidden: number): Record<string, BlockMatrix> {
  const { count, experts, gate, up, down, width, shared } = config;
  const into: BlockMatrix = { out: width, in: hidden, bias: false, expert: true };
  const back: BlockMatrix = { out: hidden, in: width, bias: false, expert: true };
  const matrices: Record<string, BlockMatrix> = {};
  for (let expert = 0; expert < count; expert++) {
    const name = `${experts}${expert}.`;
    Object.assign(matrices, { [name + gate]: into, [name + up]: into, [name + down]: back });
  }
  return shared === undefined ? matrices : { ...matrices, ...feedForwardMatrices(shared.part, hidden) };
}

/** What decides between experts: no adapter is put on it. */
function routerShapes(config: FeedForwardConfig, hidden: number): Record<string, readonly number[]> {
  if (config.kind !== 'experts') return {};
  const gate = config.shared?.gate;
  return {
    [`${config.router}.weight`]: [config.count, hidden],
    ...(gate === undefined ? {} : { [`${gate}.weight`]: [1, hidden] }),
  };
}

/** Every weight of a layer's block, as it is stored, by name without the layer's prefix. */
export function blockWeightShapes(
  config: DecoderConfig,
  layer: number,
): Readonly<Record<string, readonly number[]>> {
  const structure = structureOf(config, layer);
  const shapes: Record<string, readonly number[]> = {};
  const { attention, norms } = structure;
  const all: readonly (NormConfig | undefined)[] = [
    norms.attentionInput,
    norms.attentionOutput,
    norms.attentionSum,
    norms.feedForwardInput,
    norms.feedForwardOutput,
    norms.feedForwardSum,
    attention.queryNorm,
    attention.keyNorm,
  ];
  for (const norm of all) if (norm !== undefined) Object.assign(shapes, normShapes(norm));
  Object.assign(shapes, routerShapes(structure.feedForward, config.hidden_size));
  for (const [name, matrix] of Object.entries(blockMatrices(structure, config.hidden_size))) {
    shapes[`${name}.weight`] =
      structure.layout === 'outIn' ? [matrix.out, matrix.in] : [matrix.in, matrix.out];
    if (matrix.bias) shapes[`${name}.bias`] = [matrix.out];
  }
  return shapes;
}

/** Every weight that makes the first block's input. */
export function embeddingShapes({
  embedding,
  vocab_size: vocabulary,
  hidden_size: hidden,
}: DecoderConfig): Readonly<Record<string, readonly number[]>> {
  const { weight, width, projection, positions, segments, norm } = embedding;
  return {
    [weight]: [vocabulary, width],
    ...(projection === undefined ? {} : { [projection]: [hidden, width] }),
    ...(positions === undefined ? {} : { [positions.weight]: [positions.rows, hidden] }),
    ...(segments === undefined ? {} : { [segments.weight]: [segments.rows, hidden] }),
    ...(norm === undefined ? {} : normShapes(norm)),
  };
}

/** Every weight between the last block's output and the last hidden state. */
export function outputShapes({
  output,
  hidden_size: hidden,
}: DecoderConfig): Readonly<Record<string, readonly number[]>> {
  const { norm, projection, width } = output;
  return {
    ...(norm === undefined ? {} : normShapes(norm)),
    ...(projection === undefined ? {} : { [projection]: [width, hidden] }),
  };
}

/** Every weight of the decoder, as it is stored. */
export function weightShapes(config: DecoderConfig): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>(Object.entries(embeddingShapes(config)));
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const [name, shape] of Object.entries(blockWeightShapes(config, layer)))
      shapes.set(blockPrefix(config, layer) + name, shape);
  }
  for (const [name, shape] of Object.entries(outputShapes(config))) shapes.set(name, shape);
  const { head, width } = config.output;
  if (!config.tie_word_embeddings && head !== undefined) shapes.set(head, [config.vocab_size, width]);
  return shapes;
}

export function isBias(name: string): boolean {
  return name.endsWith('.bias');
}

/** Of `names`, the biases in the blocks: what BitFit trains. */
export function biasNames({ blocks }: DecoderConfig, names: Iterable<string>): string[] {
  return [...names].filter((name) => name.startsWith(blocks) && isBias(name));
}
