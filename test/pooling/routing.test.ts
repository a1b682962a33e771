import { setBackend, tensor2d, tidy, type Tensor } from '@tensorflow/tfjs';
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { createPooling, poolPacked, savedShapes } from '../../src/pooling/registry.js';
import { routedLayers, STATISTICS_DEVIATION, STATISTICS_MEAN } from '../../src/pooling/routing.js';
import { poolingSchema } from '../../src/pooling/schema.js';

interface Case {
  readonly weights: string;
  readonly layers: 'all' | readonly number[];
  readonly standardise: boolean;
  readonly combine: string;
  readonly alpha: number;
  readonly mean?: number[];
  readonly deviation?: number[];
  readonly vectors?: number[][];
  readonly similarity?: number[][];
}

const golden = JSON.parse(readFileSync(new URL('../golden/moee/golden.json', import.meta.url), 'utf8')) as {
  readonly hiddenSize: number;
  readonly experts: readonly number[];
  readonly lengths: readonly number[];
  readonly hidden: number[][];
  readonly logits: number[][][];
  readonly cases: readonly Case[];
};
// A dense layer between the experts: they are counted among themselves.
const size = {
  hidden_size: golden.hiddenSize,
  num_hidden_layers: 4,
  layers: [{ structure: 0 }, { structure: 3 }, { structure: 1 }, { structure: 2 }],
  structures: [
    ...golden.experts.map((count) => ({ feedForward: { kind: 'experts', count } })),
    { feedForward: { kind: 'gated' } },
  ],
};
const expertsAt = [0, 2, 3];

beforeAll(() => setBackend('cpu'));

/** [N, L]: which places belong to which text. */
function membership(): number[][] {
  let place = 0;
  return golden.lengths.map((length) => {
    const row = golden.hidden.map((_, i) => (i >= place && i < place + length ? 1 : 0));
    place += length;
    return row;
  });
}

function vectorsOf({ combine, alpha, weights, layers, standardise, mean, deviation }: Case): number[][] {
  const config = poolingSchema.parse({
    type: 'last',
    routing: { combine, alpha, weights, layers },
    standardise,
  });
  const routing = (config as { routing: Parameters<typeof routedLayers>[0] }).routing;
  const pooling = createPooling(config, size);
  const params: Record<string, Tensor> =
    mean === undefined || deviation === undefined
      ? {}
      : { [STATISTICS_MEAN]: tensor2d([mean]), [STATISTICS_DEVIATION]: tensor2d([deviation]) };
  return tidy(() => {
    const routers = routedLayers(routing, size).map(({ layer }) =>
      tensor2d(golden.logits[expertsAt.indexOf(layer)]!),
    );
    const hidden = tensor2d(golden.hidden);
    const embeddings = poolPacked(pooling, params, {
      hidden,
      membership: tensor2d(membership()),
      routers,
    });
    expect(embeddings.shape[1]).toBe(pooling.dimensions);
    return embeddings.arraySync() as number[][];
  });
}

const far = (a: readonly number[][], b: readonly number[][]): number =>
  Math.max(...a.flatMap((row, i) => row.map((value, j) => Math.abs(value - b[i]![j]!))));

describe('MoEE against NumPy', () => {
  it.each(golden.cases)(
    '$combine, $weights, layers $layers, alpha $alpha, standardised $standardise',
    (each) => {
      const actual = vectorsOf(each);
      expect(actual).toHaveLength(golden.lengths.length);
      if (each.vectors !== undefined) expect(far(actual, each.vectors)).toBeLessThan(2e-5);
      else {
        const products = actual.map((a) =>
          actual.map((b) => a.reduce((sum, value, i) => sum + value * b[i]!, 0)),
        );
        expect(far(products, each.similarity!)).toBeLessThan(2e-5);
      }
    },
  );

  it('keeps its statistics with the model, and trains none of them', () => {
    const config = poolingSchema.parse({ type: 'last', routing: {}, standardise: true });
    const width = golden.hiddenSize + golden.experts.reduce((sum, count) => sum + count, 0);
    expect([...savedShapes(config, size)]).toEqual([
      [STATISTICS_MEAN, [width]],
      [STATISTICS_DEVIATION, [width]],
    ]);
    expect(createPooling(config, size).parameterShapes).toBeUndefined();
  });

  it('needs experts, and layers that exist', () => {
    const config = poolingSchema.parse({ type: 'last', routing: {} });
    expect(() => createPooling(config, { hidden_size: 6, num_hidden_layers: 4 })).toThrow(
      /no experts to route to: expected a mixture-of-experts decoder/,
    );
    const far = poolingSchema.parse({ type: 'last', routing: { layers: [0, 3] } });
    expect(() => createPooling(far, size)).toThrow(
      /no such mixture-of-experts layer: got 3, expected 0 to 2/,
    );
  });
});
