import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { randomStream } from '../../src/shared/random.js';
import type { ContrastiveRoles } from '../../src/training/objectives/contrastive-batch.js';
import { ContrastiveLoss } from '../../src/training/objectives/contrastive-loss.js';
import type { ContrastiveStageConfig } from '../../src/training/schema.js';
import { bareStage, relativeDifference } from './tiny.js';

interface Golden {
  readonly Q: number;
  readonly K: number;
  readonly E: number;
  readonly scale: number;
  readonly queries: readonly number[];
  readonly documents: readonly number[];
  readonly scores: readonly number[];
  readonly teacher: readonly number[];
  readonly cases: Readonly<
    Record<
      string,
      { readonly loss: number; readonly queries: readonly number[]; readonly documents: readonly number[] }
    >
  >;
}

const golden = JSON.parse(
  await readFile(new URL('../golden/losses/golden.json', import.meta.url), 'utf8'),
) as Golden;
const { Q, K, E, scale } = golden;

const stageOf = (options: Partial<ContrastiveStageConfig>): ContrastiveStageConfig =>
  bareStage({
    objective: 'contrastive',
    batchTexts: Q,
    scale,
    maskDuplicates: false,
    ...options,
  }) as ContrastiveStageConfig;

const run = async (
  stage: ContrastiveStageConfig,
  embeddings: readonly number[] | Float32Array,
  roles: ContrastiveRoles,
  width = E,
) => {
  const loss = new ContrastiveLoss(stage, { width, pool: new TensorPool(), threads: 1 });
  const result = await loss.run(Float32Array.from(embeddings), roles);
  await loss.dispose();
  return result;
};

const indices = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const texts = (count: number) =>
  indices(count).map((i) => ({ set: 0, side: 'query' as const, text: `text ${i}` }));

/** Documents: positives, then the first negatives of all queries, then the second ... */
function rankedRoles(
  queries: number,
  negatives: number,
  { inBatch = true, teacher = [] as readonly (readonly number[])[] } = {},
): ContrastiveRoles {
  const documents = queries * (1 + negatives);
  return {
    texts: texts(queries + documents),
    scores: new Float32Array(0),
    ranked: {
      queries,
      owner: Int32Array.from(indices(documents), (i) => i % queries),
      queryIds: Int32Array.from(indices(queries)),
      documentIds: Int32Array.from(indices(documents), (i) => queries + i),
      groups: new Int32Array(queries).fill(-1),
      documentGroups: new Int32Array(documents).fill(-1),
      inBatch: new Uint8Array(queries).fill(inBatch ? 1 : 0),
      teacher,
    },
  };
}

const teacherOf = (query: number): number[] => golden.teacher.slice(query * (1 + K), (query + 1) * (1 + K));
const teacher = indices(Q).map(teacherOf);
const whole = [...golden.queries, ...golden.documents];
const pairs: ContrastiveRoles = {
  texts: texts(2 * Q),
  ranked: undefined,
  scores: Float32Array.from(golden.scores),
};

describe("a stage's loss against sentence-transformers, values and gradients", () => {
  it.each([
    ['infoNce', stageOf({}), rankedRoles(Q, K), whole],
    ['infoNceWithoutHardNegatives', stageOf({}), rankedRoles(Q, 0), whole.slice(0, 2 * Q * E)],
    ['symmetric', stageOf({ symmetric: true }), rankedRoles(Q, K), whole],
    ['hardOnly', stageOf({}), rankedRoles(Q, K, { inBatch: false }), whole],
    // There is no way back from a positive without other examples: nothing is halved.
    ['hardOnly', stageOf({ symmetric: true }), rankedRoles(Q, K, { inBatch: false }), whole],
    ['falseNegatives', stageOf({ falseNegativeMargin: 0.1 }), rankedRoles(Q, 1), whole.slice(0, 3 * Q * E)],
    ['cosent', stageOf({}), pairs, whole.slice(0, 2 * Q * E)],
    ['angle', stageOf({ scoredLoss: 'angle' }), pairs, whole.slice(0, 2 * Q * E)],
    ['distillKl', stageOf({ loss: 'distillKl', temperature: 2 }), rankedRoles(Q, K, { teacher }), whole],
    ['marginMse', stageOf({ loss: 'marginMse' }), rankedRoles(Q, K, { teacher }), whole],
    [
      'matryoshkaInfoNce',
      stageOf({ matryoshka: { dimensions: [4, 2], weights: [0.5, 0.25] } }),
      rankedRoles(Q, K),
      whole,
    ],
  ] as const)('%s', async (name, stage, roles, embeddings) => {
    const expected = golden.cases[name]!;
    const { loss, gradient } = await run(stage, embeddings, roles);
    expect(loss / expected.loss).toBeCloseTo(1, 5);
    const all = [...expected.queries, ...expected.documents].slice(0, embeddings.length);
    expect(relativeDifference(gradient, all)).toBeLessThan(1e-5);
  });
});

describe('a teacher that scored different numbers of candidates', () => {
  // Query q keeps its positive and its first 1 + q % K negatives.
  const kept = indices(Q).map((q) => 1 + (q % K));
  const ragged = (queries: readonly number[]) => {
    const documents = indices((1 + K) * Q).filter(
      (i) => queries.includes(i % Q) && Math.floor(i / Q) <= kept[i % Q]!,
    );
    const roles = rankedRoles(queries.length, 0);
    const rowsOf = (list: readonly number[], from: readonly number[]): number[] =>
      list.flatMap((i) => from.slice(i * E, (i + 1) * E));
    return {
      embeddings: [...rowsOf(queries, golden.queries), ...rowsOf(documents, golden.documents)],
      roles: {
        ...roles,
        ranked: {
          ...roles.ranked!,
          owner: Int32Array.from(documents, (i) => queries.indexOf(i % Q)),
          teacher: queries.map((q) => teacherOf(q).slice(0, 1 + kept[q]!)),
        },
      },
    };
  };

  it.each(['distillKl', 'marginMse'] as const)('%s: each query counts with what it has', async (name) => {
    const stage = stageOf({ loss: name, temperature: 2 });
    const all = ragged(indices(Q));
    const { loss, gradient } = await run(stage, all.embeddings, all.roles);
    const each: { loss: number; gradient: Float32Array }[] = [];
    for (const q of indices(Q)) {
      const { embeddings, roles } = ragged([q]);
      each.push(await run(stage, embeddings, roles));
    }
    // KL: a mean over queries; margins: over all negatives.
    const weights = kept.map((count) =>
      name === 'distillKl' ? 1 / Q : count / kept.reduce((sum, one) => sum + one),
    );
    expect(loss).toBeCloseTo(
      each.reduce((sum, one, q) => sum + one.loss * weights[q]!, 0),
      5,
    );
    for (const q of indices(Q))
      expect(
        relativeDifference(
          gradient.subarray(q * E, (q + 1) * E),
          each[q]!.gradient.subarray(0, E).map((value) => value * weights[q]!),
        ),
      ).toBeLessThan(1e-5);
  });
});

it('more queries than are held at once', async () => {
  const [queries, width] = [301, 5];
  const random = randomStream(4);
  const roles = rankedRoles(queries, 1);
  const embeddings = Float32Array.from({ length: 3 * queries * width }, () => random.normal());
  const { loss, gradient } = await run(stageOf({}), embeddings, roles, width);
  const unit = indices(3 * queries).map((row) => {
    const values = [...embeddings.subarray(row * width, (row + 1) * width)];
    const norm = Math.hypot(...values);
    return values.map((value) => value / norm);
  });
  let expected = 0;
  for (let q = 0; q < queries; q++) {
    const logits = indices(2 * queries).map(
      (d) => scale * unit[q]!.reduce((sum, value, i) => sum + value * unit[queries + d]![i]!, 0),
    );
    expected += (Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0)) - logits[q]!) / queries;
  }
  expect(loss).toBeCloseTo(expected, 4);
  // Along itself a vector has no slope, as only its direction counts; and the last block's queries have one.
  for (const row of [0, 255, 256, 300, 400, 902]) {
    const [x, g] = [embeddings, gradient].map((data) => data.subarray(row * width, (row + 1) * width));
    expect(Math.hypot(...g!)).toBeGreaterThan(1e-5);
    expect(Math.abs(x!.reduce((sum, value, i) => sum + value * g![i]!, 0))).toBeLessThan(1e-6);
  }
});
