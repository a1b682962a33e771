import { add, customGrad, matMul, tanh, topk, type Tensor } from '@tensorflow/tfjs';
import { param } from '../models/layers.js';
import { assertNever, userError } from '../shared/errors.js';
import { hashKey, hashString, randomStream } from '../shared/random.js';
import type { Pooling } from './pooling.js';
import type { HeadConfig } from './schema.js';

/** Of the trained matrix of a head. */
const WEIGHT = 'head.weight';
const BIAS = 'head.bias';

/** Whether a pooling's parameter is of its head. */
export function isOfHead(name: string): boolean {
  return name === WEIGHT || name === BIAS;
}

/**
 * Puts a head behind a pooling of width `hiddenSize`.
 * @throws UserError where it asks for more numbers than there are
 */
export function withHead(pooling: Pooling, head: HeadConfig, hiddenSize: number): Pooling {
  switch (head.type) {
    case 'dense':
      return withMatrix(pooling, {
        ...head,
        hiddenSize,
        after: head.activation === 'tanh' ? tanh : (x) => x,
      });
    case 'truncate':
      checkWidth('dimensions', head.dimensions, hiddenSize);
      return {
        ...pooling,
        dimensions: head.dimensions,
        project: (...input) => projected(pooling, input).slice([0, 0], [input[0].shape[0], head.dimensions]),
      };
    case 'sparse': {
      const { keep, gate, dimensions } = head;
      checkWidth('keep', keep, dimensions ?? hiddenSize);
      const sparse = (x: Tensor): Tensor => keepLargest(gate === 'relu' ? x.relu() : x, keep);
      if (dimensions === undefined)
        return { ...pooling, project: (...input) => sparse(projected(pooling, input)) };
      return withMatrix(pooling, { dimensions, bias: true, hiddenSize, after: sparse });
    }
    default:
      return assertNever(head);
  }
}

/** What the head stands behind: standardisation and routing come before it. */
function projected(pooling: Pooling, input: Parameters<NonNullable<Pooling['project']>>): Tensor {
  return pooling.project?.(...input) ?? input[0];
}

/** y = after(x W^T + b), W [E, D]. */
function withMatrix(
  pooling: Pooling,
  options: {
    readonly dimensions: number;
    readonly bias: boolean;
    readonly hiddenSize: number;
    readonly after: (x: Tensor) => Tensor;
  },
): Pooling {
  const { dimensions, bias, hiddenSize, after } = options;
  const shapes: [string, readonly number[]][] = [[WEIGHT, [dimensions, hiddenSize]]];
  if (bias) shapes.push([BIAS, [dimensions]]);
  return {
    ...pooling,
    dimensions,
    project: (...input) => {
      const product = matMul(projected(pooling, input), param(input[1], WEIGHT), false, true);
      return after(bias ? add(product, param(input[1], BIAS)) : product);
    },
    parameterShapes: new Map([...(pooling.parameterShapes ?? []), ...shapes]),
    initialise: (seed) => {
      const parameters = new Map(pooling.initialise?.(seed));
      parameters.set(WEIGHT, randomMatrix(dimensions, hiddenSize, seed));
      if (bias) parameters.set(BIAS, new Float32Array(dimensions));
      return parameters;
    },
  };
}

/** Normal numbers of variance 1 / D: inner products are about what they were (Johnson and Lindenstrauss 1984). */
function randomMatrix(rows: number, columns: number, seed: number): Float32Array {
  const random = randomStream(hashKey(seed, hashString(WEIGHT)));
  return Float32Array.from({ length: rows * columns }, () => random.normal() / Math.sqrt(columns));
}

/** Numbers of a row that are not among its `keep` largest by size become zero; the gradient goes to those that stay. */
export function keepLargest(x: Tensor, keep: number): Tensor {
  const sparse = customGrad((...args) => {
    const [source, save] = args as unknown as [Tensor, (tensors: Tensor[]) => void];
    const size = source.abs();
    const least = topk(size, keep, true).values.min(-1, true);
    const mask = size.greaterEqual(least).cast('float32');
    save([mask]);
    return { value: source.mul(mask), gradFunc: (dy: Tensor, [kept]: Tensor[]) => dy.mul(kept as Tensor) };
  });
  return sparse(x);
}

function checkWidth(where: string, asked: number, width: number): void {
  if (asked <= width) return;
  throw userError({
    what: 'a head asks for more numbers than the vector has',
    where: `pooling.head.${where}`,
    got: String(asked),
    expected: `at most ${width}`,
  });
}
