import type { Tensor } from '@tensorflow/tfjs';
import { compileLoss, type CompiledFunction } from '../../compiler/compile.js';
import { floats, floatTensor, intTensor, type HostTensor } from '../../compiler/program.js';
import type { TensorPool } from '../../compiler/pool.js';
import type { Tensors } from '../../compiler/trace.js';
import { internalError, userError } from '../../shared/errors.js';
import { distillationKl, marginMse } from '../losses/distillation.js';
import { infoNceOfQueries } from '../losses/info-nce.js';
import { matryoshka, type MatryoshkaSize } from '../losses/matryoshka.js';
import { angle, cosent } from '../losses/scored-pairs.js';
import { addSparsityPenalty } from '../losses/sparsity.js';
import type { ContrastiveStageConfig } from '../schema.js';
import type { EmbeddingLoss } from './objective.js';
import {
  excludedDocuments,
  reversedRoles,
  type ContrastiveRoles,
  type RankedRoles,
} from './contrastive-batch.js';

/** Queries whose logits are held at once: the memory of a loss grows with the batch, not with its square. */
const QUERIES_AT_ONCE = 256;

/** The loss of a contrastive batch as a function of its embeddings, block by block of queries. */
export class ContrastiveLoss {
  private readonly infoNce: CompiledFunction;
  private readonly distillation: CompiledFunction;
  private readonly scored: CompiledFunction;
  private readonly sizes: readonly MatryoshkaSize[];

  constructor(
    private readonly stage: ContrastiveStageConfig,
    private readonly options: {
      readonly width: number;
      readonly pool: TensorPool;
      readonly threads?: number;
    },
  ) {
    this.sizes = matryoshkaSizes(stage.matryoshka, options.width);
    const { scale, temperature, falseNegativeMargin } = stage;
    const margin = falseNegativeMargin === null ? {} : { falseNegativeMargin };
    this.infoNce = this.program('contrastive loss', ['queries', 'documents'], (given) => {
      const { labels, excluded, weights } = given as Record<'labels' | 'excluded' | 'weights', Tensor>;
      return ([queries, documents]) =>
        infoNceOfQueries({ queries, documents, labels, scale, excluded, ...margin })
          .mul(weights)
          .sum();
    });
    const distil = stage.loss === 'marginMse' ? marginMse : distillationKl;
    this.distillation = this.program('distillation loss', ['queries', 'candidates'], (given) => {
      const { teacher, counted } = given as Record<'teacher' | 'counted', Tensor>;
      return ([queries, candidates]) => distil({ queries, candidates, teacher, counted, scale, temperature });
    });
    const ordered = stage.scoredLoss === 'angle' ? angle : cosent;
    this.scored = this.program('loss of scored pairs', ['first', 'second'], (given) => {
      const { scores, counted } = given as Record<'scores' | 'counted', Tensor>;
      return ([first, second]) => ordered({ first, second, scores, counted, scale });
    });
  }

  /** Ranked examples and scored pairs count by their number. `embeddings` [N, E] in the order of the texts. */
  async run(embeddings: Float32Array, { texts, ranked, scores }: ContrastiveRoles): Promise<EmbeddingLoss> {
    const { width } = this.options;
    const gradient = new Float32Array(embeddings.length);
    const examples = (ranked?.queries ?? 0) + scores.length;
    let loss = 0;
    if (ranked !== undefined) {
      const { queries } = ranked;
      const documents = ranked.owner.length;
      const rows = { queries: part(0, queries, width), documents: part(queries, documents, width) };
      const share = queries / examples;
      const add =
        this.stage.loss === 'infoNce' ? this.addRanked(ranked, share) : this.addDistillation(ranked, share);
      loss += await add(
        { queries: rows.queries(embeddings), documents: rows.documents(embeddings) },
        { queries: rows.queries(gradient), documents: rows.documents(gradient) },
      );
    }
    if (scores.length > 0) {
      const start = texts.length - 2 * scores.length;
      const pair = [part(start, scores.length, width), part(start + scores.length, scores.length, width)];
      loss += await this.addScored(
        pair.map((rows) => rows(embeddings)),
        pair.map((rows) => rows(gradient)),
        { scores, share: scores.length / examples },
      );
    }
    const { sparsity } = this.stage;
    if (sparsity !== undefined) loss += addSparsityPenalty(sparsity, { embeddings, gradient, width });
    return { loss, gradient };
  }

  /** InfoNCE, both ways where it is symmetric. */
  private addRanked(roles: RankedRoles, share: number): AddLoss {
    const { symmetric } = this.stage;
    // Without the other examples a positive has no negatives: the way back is 0, and the way there is the whole loss.
    const weights = Float32Array.from(
      roles.inBatch,
      (inBatch) => share / roles.queries / (symmetric && inBatch === 1 ? 2 : 1),
    );
    return async (values, gradients) => {
      const there = await this.addOneWay(roles, weights, values, gradients);
      if (!symmetric) return there;
      const length = roles.queries * this.options.width;
      const turned = ({ queries, documents }: Sides): Sides => ({
        queries: documents.subarray(0, length),
        documents: queries,
      });
      return there + (await this.addOneWay(reversedRoles(roles), weights, turned(values), turned(gradients)));
    };
  }

  /** Queries in blocks of a fixed number, the last filled up with blank ones: few shapes. `weights` [Q] of the queries' losses in the sum. */
  private async addOneWay(
    roles: RankedRoles,
    weights: Float32Array,
    values: Sides,
    gradients: Sides,
  ): Promise<number> {
    const { pool, width } = this.options;
    const rows = Math.min(QUERIES_AT_ONCE, 8 * Math.ceil(roles.queries / 8));
    const columns = 8 * Math.ceil(roles.owner.length / 8);
    // Blank rows are 1: a vector of length 0 has no direction.
    const documents = new Float32Array(columns * width).fill(1);
    documents.set(values.documents);
    let loss = 0;
    for (let first = 0; first < roles.queries; first += rows) {
      const count = Math.min(rows, roles.queries - first);
      const queries = new Float32Array(rows * width).fill(1);
      queries.set(values.queries.subarray(first * width, (first + count) * width));
      const result = await this.infoNce.run({
        queries: floatTensor(queries, [rows, width]),
        documents: floatTensor(documents, [columns, width]),
        labels: intTensor(
          Int32Array.from({ length: rows }, (_, row) => (row < count ? first + row : 0)),
          [rows],
        ),
        excluded: floatTensor(
          excludedDocuments(roles, { first, rows, columns, maskDuplicates: this.stage.maskDuplicates }),
          [rows, columns],
        ),
        weights: floatTensor(
          Float32Array.from({ length: rows }, (_, row) => weights[first + row] ?? 0),
          [rows],
        ),
      });
      loss += floats(result['loss'] as HostTensor)[0] as number;
      addTo(gradients.queries.subarray(first * width), gradientOf(result, 'queries'), count * width);
      addTo(gradients.documents, gradientOf(result, 'documents'), roles.owner.length * width);
      pool.release(...Object.values(result));
    }
    return loss;
  }

  private addDistillation(roles: RankedRoles, share: number): AddLoss {
    const { pool, width } = this.options;
    return async (values, gradients) => {
      const { queries } = roles;
      const { teacher, counted, each } = teacherMatrix(roles, this.stage.teacherScale);
      // The candidates of a query, its positive first, one behind the other; blank ones are 1, as a vector of length 0 has no direction.
      const order = candidateOrder(roles, each);
      const candidates = new Float32Array(order.length * width).fill(1);
      for (const [place, document] of order.entries())
        if (document >= 0)
          candidates.set(values.documents.subarray(document * width, (document + 1) * width), place * width);
      const result = await this.distillation.run({
        queries: floatTensor(values.queries, [queries, width]),
        candidates: floatTensor(candidates, [queries, each, width]),
        teacher: floatTensor(teacher, [queries, each]),
        counted: floatTensor(counted, [queries, each]),
      });
      const found = gradientOf(result, 'candidates');
      addTo(gradients.queries, gradientOf(result, 'queries'), queries * width, share);
      for (const [place, document] of order.entries())
        if (document >= 0)
          addTo(
            gradients.documents.subarray(document * width),
            found.subarray(place * width, (place + 1) * width),
            width,
            share,
          );
      const loss = floats(result['loss'] as HostTensor)[0] as number;
      pool.release(...Object.values(result));
      return loss * share;
    };
  }

  /** Pairs filled up with blank ones: few shapes. */
  private async addScored(
    values: readonly Float32Array[],
    gradients: readonly Float32Array[],
    { scores, share }: { readonly scores: Float32Array; readonly share: number },
  ): Promise<number> {
    const { width, pool } = this.options;
    const count = 8 * Math.ceil(scores.length / 8);
    const filled = (given: Float32Array, size: number, shape: readonly number[]): HostTensor => {
      const data = new Float32Array(size).fill(1);
      data.set(given);
      return floatTensor(data, shape);
    };
    const [first, second] = values.map((each) => filled(each, count * width, [count, width])) as [
      HostTensor,
      HostTensor,
    ];
    const counted = Float32Array.from({ length: count }, (_, i) => (i < scores.length ? 1 : 0));
    const result = await this.scored.run({
      first,
      second,
      scores: filled(scores, count, [count]),
      counted: floatTensor(counted, [count]),
    });
    const [one, two] = gradients as [Float32Array, Float32Array];
    addTo(one, gradientOf(result, 'first'), one.length, share);
    addTo(two, gradientOf(result, 'second'), two.length, share);
    const loss = floats(result['loss'] as HostTensor)[0] as number;
    pool.release(...Object.values(result));
    return loss * share;
  }

  /** A loss of two arrays of embeddings, at every length that is asked for. */
  private program(
    name: string,
    sides: readonly [string, string],
    lossOf: (given: Tensors) => (embeddings: [Tensor, Tensor]) => Tensor,
  ): CompiledFunction {
    const { pool, threads } = this.options;
    return compileLoss(
      (inputs) => {
        const loss = lossOf(inputs);
        const embeddings = sides.map((side) => inputs[side] as Tensor);
        return matryoshka((cut) => loss(cut as [Tensor, Tensor]), embeddings, this.sizes);
      },
      // Large batches make large matrices, once a step: what they take is given back.
      { name, pool, wrt: sides, keepsWorkspace: false, ...(threads === undefined ? {} : { threads }) },
    );
  }

  async dispose(): Promise<void> {
    await Promise.all([this.infoNce, this.distillation, this.scored].map((program) => program.release()));
  }
}

/** Embeddings of queries and documents, or their gradients. */
interface Sides {
  readonly queries: Float32Array;
  readonly documents: Float32Array;
}

type AddLoss = (values: Sides, gradients: Sides) => Promise<number>;

/** The lengths of a Matryoshka loss, the whole among them. @throws UserError where one is longer than the embedding. */
export function matryoshkaSizes(
  config: ContrastiveStageConfig['matryoshka'],
  width: number,
): MatryoshkaSize[] {
  if (config === undefined) return [{ dimensions: width, weight: 1 }];
  const { dimensions, weights } = config;
  const longest = Math.max(...dimensions);
  if (longest > width) {
    throw userError({
      what: 'a Matryoshka length is longer than the embedding',
      where: 'matryoshka.dimensions',
      got: String(longest),
      expected: `at most ${width}`,
    });
  }
  const sizes = dimensions.map((size, i) => ({ dimensions: size, weight: weights?.[i] ?? 1 }));
  return dimensions.includes(width) ? sizes : [{ dimensions: width, weight: 1 }, ...sizes];
}

/** Rows of a matrix [N, width], without a copy. */
function part(first: number, rows: number, width: number): (data: Float32Array) => Float32Array {
  return (data) => data.subarray(first * width, (first + rows) * width);
}

function gradientOf(result: Readonly<Record<string, HostTensor>>, name: string): Float32Array {
  return floats(result[`gradient:${name}`] as HostTensor);
}

function addTo(sum: Float32Array, values: Float32Array, count: number, scale = 1): void {
  for (let i = 0; i < count; i++) sum[i] = (sum[i] as number) + scale * (values[i] as number);
}

interface TeacherMatrix {
  /** [Q, C], 0 where there is no candidate. */
  readonly teacher: Float32Array;
  /** [Q, C], 1 where there is one. */
  readonly counted: Float32Array;
  /** C: candidates of the query that has most. */
  readonly each: number;
}

function teacherMatrix({ teacher, queries }: RankedRoles, scale: number): TeacherMatrix {
  const each = Math.max(2, ...teacher.map((scores) => scores?.length ?? 0));
  const matrix = new Float32Array(queries * each);
  const counted = new Float32Array(queries * each);
  for (const [query, scores] of teacher.entries()) {
    if (scores === undefined) throw internalError('distillation without teacher scores');
    for (const [i, score] of scores.entries()) {
      matrix[query * each + i] = score * scale;
      counted[query * each + i] = 1;
    }
  }
  return { teacher: matrix, counted, each };
}

/** [Q * C]: the documents of each query, its positive first; -1 where there is none. */
function candidateOrder({ owner, queries }: RankedRoles, each: number): Int32Array {
  const order = new Int32Array(queries * each).fill(-1);
  const filled = new Int32Array(queries);
  for (const [document, query] of owner.entries()) {
    const place = filled[query] as number;
    order[query * each + place] = document;
    filled[query] = place + 1;
  }
  return order;
}
