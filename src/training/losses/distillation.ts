import { matMul, type Tensor } from '@tensorflow/tfjs';
import { normalise } from '../../pooling/registry.js';

export interface DistillationInput {
  /** [Q, E] */
  readonly queries: Tensor;
  /** [Q, C, E]: the query's positive, then its negatives. */
  readonly candidates: Tensor;
  /** [Q, C] float32: what the teacher gave each candidate, in units of the student's scale * cosine. */
  readonly teacher: Tensor;
  /** The student's score is scale * cosine. */
  readonly scale: number;
  /** Softens both distributions. */
  readonly temperature: number;
  /** [Q, C] float32, 1 for a candidate, 0 for a blank one: queries may have different numbers of them. The first is never blank. */
  readonly counted?: Tensor;
}

/** Far below every score: its exponential is 0. */
const NOTHING = -1e9;

/**
 * Mean over q of temperature^2 * KL(softmax(teacher / temperature) || softmax(scale * cos / temperature)) over the query's candidates.
 * Hinton et al. 2015; Lin et al. 2020 (TCT-ColBERT) for rankers.
 */
export function distillationKl(input: DistillationInput): Tensor {
  const { teacher, temperature, counted } = input;
  const alone = (scores: Tensor): Tensor =>
    counted === undefined ? scores : scores.add(counted.neg().add(1).mul(NOTHING));
  const student = logSoftmax(alone(scoresOf(input).div(temperature)));
  const target = logSoftmax(alone(teacher.div(temperature)));
  return target
    .exp()
    .mul(target.sub(student))
    .sum(-1)
    .mean()
    .mul(temperature ** 2);
}

/** Mean of ((s_0 - s_c) - (t_0 - t_c))^2 over queries and negatives c. Hofstätter et al. 2020, arXiv:2010.02666, eq. 1. */
export function marginMse(input: DistillationInput): Tensor {
  const { teacher, counted } = input;
  const squares = margins(scoresOf(input)).sub(margins(teacher)).square();
  if (counted === undefined) return squares.mean();
  const [rows, columns] = counted.shape as [number, number];
  const negatives = counted.slice([0, 1], [rows, columns - 1]);
  return squares.mul(negatives).sum().div(negatives.sum().maximum(1));
}

/** scale * cosine of every query with its candidates, [Q, C]. */
function scoresOf({ queries, candidates, scale }: DistillationInput): Tensor {
  const [count, each, width] = candidates.shape as [number, number, number];
  const unit = normalise(queries).reshape([count, width, 1]);
  return matMul(normalise(candidates), unit).reshape([count, each]).mul(scale);
}

function margins(scores: Tensor): Tensor {
  const [count, each] = scores.shape as [number, number];
  return scores.slice([0, 0], [count, 1]).sub(scores.slice([0, 1], [count, each - 1]));
}

function logSoftmax(x: Tensor): Tensor {
  const highest = x.max(-1, true);
  return x.sub(highest).sub(x.sub(highest).exp().sum(-1, true).log());
}
