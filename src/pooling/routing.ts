import { concat, softmax, type Tensor } from '@tensorflow/tfjs';
import { param } from '../models/layers.js';
import { assertNever, userError } from '../shared/errors.js';
import type { Pooling } from './pooling.js';
import type { RoutingConfig } from './schema.js';

/** Saved statistics of the vectors that are standardised: mean and standard deviation of each number. */
export const STATISTICS_MEAN = 'standardise.mean';
export const STATISTICS_DEVIATION = 'standardise.deviation';

/** Keeps a number that never varies from being divided by nothing. */
const DEVIATION_FLOOR = 1e-8;

/** A layer of a decoder that is a mixture of experts. */
export interface ExpertLayer {
  readonly layer: number;
  readonly experts: number;
}

/** Where the experts of a decoder are. */
export interface ExpertPlaces {
  readonly layers?: readonly { readonly structure: number }[];
  readonly structures?: readonly {
    readonly feedForward: { readonly kind: string; readonly count?: number };
  }[];
}

function expertLayers({ layers = [], structures = [] }: ExpertPlaces): ExpertLayer[] {
  return layers.flatMap(({ structure }, layer) => {
    const part = structures[structure]?.feedForward;
    return part?.kind === 'experts' ? [{ layer, experts: part.count ?? 0 }] : [];
  });
}

/** The layers whose routers are read, in the order of the choice. @throws UserError where there are none */
export function routedLayers({ layers }: RoutingConfig, size: ExpertPlaces): readonly ExpertLayer[] {
  const experts = expertLayers(size);
  const asked =
    layers === 'all'
      ? experts.map((_, index) => index)
      : layers.map((layer) => (layer < 0 ? experts.length + layer : layer));
  const missing = asked.find((layer) => experts[layer] === undefined);
  if (missing === undefined && asked.length > 0) return asked.flatMap((index) => experts[index] ?? []);
  throw userError({
    what:
      experts.length === 0 ? 'this decoder has no experts to route to' : 'no such mixture-of-experts layer',
    where: 'pooling.routing',
    ...(missing === undefined ? {} : { got: String(missing) }),
    expected: experts.length === 0 ? 'a mixture-of-experts decoder' : `0 to ${experts.length - 1}`,
  });
}

/**
 * Routers' outputs to one row for each text, [N, sum of X_l]: `pool` takes a layer's values [tokens, X_l] to [N, X_l] with the weights of the
 * pooling. With those of `last` that is the last token's routing (MoEE: Li and Zhou 2024, arXiv:2410.10814, section 3).
 */
export function poolRouters(
  logits: readonly Tensor[],
  kind: RoutingConfig['weights'],
  pool: (values: Tensor) => Tensor,
): Tensor {
  return concat(
    logits.map((layer) => pool(kind === 'softmax' ? softmax<Tensor>(layer, -1) : layer)),
    -1,
  );
}

/**
 * Puts experts' routing beside the pooled hidden state. `hs` is that state, `rw` the pooled routing, both standardised where `standardise`:
 * concat: [hs; rw]; sum: [hs / |hs|; sqrt(alpha) rw / |rw|], whose inner products are cos(hs) + alpha cos(rw).
 * @param options.routed the layers whose routers are read
 */
export function withRouting(
  pooling: Pooling,
  options: {
    readonly routing: RoutingConfig | undefined;
    readonly standardise: boolean;
    readonly hiddenSize: number;
    readonly routed: readonly ExpertLayer[];
  },
): Pooling {
  const { routing, standardise, hiddenSize } = options;
  const kind = routing?.combine ?? 'hs';
  const routed = options.routed.reduce((sum, { experts }) => sum + experts, 0);
  // The hidden state alone is standardised with the routing beside it, so that the same statistics serve all four.
  const reads = routing !== undefined && (kind !== 'hs' || standardise);
  const width = hiddenSize + routed;
  const shapes: [string, readonly number[]][] = standardise
    ? [
        [STATISTICS_MEAN, [width]],
        [STATISTICS_DEVIATION, [width]],
      ]
    : [];
  return {
    ...pooling,
    dimensions: { hs: hiddenSize, rw: routed, concat: width, sum: width }[kind],
    project: (pooled, params, routes) => {
      const joined = routes === undefined ? pooled : concat([pooled, routes], -1);
      const standard = standardise
        ? joined
            .sub(param(params, STATISTICS_MEAN))
            .div(param(params, STATISTICS_DEVIATION).add(DEVIATION_FLOOR))
        : joined;
      const rows = pooled.shape[0];
      const hs = (): Tensor => standard.slice([0, 0], [rows, hiddenSize]);
      const rw = (): Tensor => standard.slice([0, hiddenSize], [rows, routed]);
      switch (kind) {
        case 'hs':
          return hs();
        case 'rw':
          return rw();
        case 'concat':
          return standard;
        case 'sum':
          return concat([unit(hs()), unit(rw()).mul(Math.sqrt(routing?.alpha ?? 1))], -1);
        default:
          return assertNever(kind);
      }
    },
    statisticShapes: new Map(shapes),
    ...(reads
      ? { routing: { layers: options.routed.map(({ layer }) => layer), weights: routing.weights } }
      : {}),
  };
}

function unit(x: Tensor): Tensor {
  return x.div(x.square().sum(-1, true).sqrt().maximum(1e-12));
}
