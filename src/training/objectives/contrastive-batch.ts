import type { DrawnExample } from '../../data/mixture.js';
import type { RankedExample, ScoredExample } from '../../data/examples.js';

/** A text of a batch: which set it is from and on which side it stands. */
export interface BatchText {
  readonly set: number;
  readonly side: 'query' | 'document';
  readonly text: string;
}

/** Which text of a ranked batch is what. Documents are the positives in the order of the queries, then all negatives. */
export interface RankedRoles {
  readonly queries: number;
  /** [M]: the query whose document it is. */
  readonly owner: Int32Array;
  /** Equal numbers are equal texts: [Q] of the queries, [M] of the documents. */
  readonly queryIds: Int32Array;
  readonly documentIds: Int32Array;
  /** [Q], [M]: equal numbers are of one class; -1 where there are no classes. */
  readonly groups: Int32Array;
  readonly documentGroups: Int32Array;
  /** [Q]: whether the other examples' documents are the query's negatives. */
  readonly inBatch: Uint8Array;
  /** By query: what the teacher gave its positive and its negatives. */
  readonly teacher: readonly (readonly number[] | undefined)[];
}

/** A batch before tokenising: texts with their roles. */
export interface ContrastiveRoles {
  /** Queries, positives, negatives; then first and second texts of scored pairs. */
  readonly texts: readonly BatchText[];
  readonly ranked: RankedRoles | undefined;
  /** Scores of the pairs. */
  readonly scores: Float32Array;
}

/** Lays the texts of examples out. `inBatch` by set. */
export function rolesOf(drawn: readonly DrawnExample[], inBatch: readonly boolean[]): ContrastiveRoles {
  const ranked = drawn.filter(isRanked);
  const scored = drawn.filter(isScored);
  const negatives = ranked.flatMap(({ set, example }, query) =>
    example.negatives.map((text, i) => ({ set, text, query, group: example.negativeGroups?.[i] })),
  );
  const texts: BatchText[] = [
    ...ranked.map(({ set, example }) => ({ set, side: 'query' as const, text: example.query })),
    ...ranked.map(({ set, example }) => ({ set, side: 'document' as const, text: example.positive })),
    ...negatives.map(({ set, text }) => ({ set, side: 'document' as const, text })),
    // Neither side of a scored pair is a query.
    ...scored.map(({ set, example }) => ({ set, side: 'query' as const, text: example.first })),
    ...scored.map(({ set, example }) => ({ set, side: 'query' as const, text: example.second })),
  ];
  return {
    texts,
    ranked: ranked.length === 0 ? undefined : rankedRoles(ranked, negatives, inBatch),
    scores: Float32Array.from(scored, ({ example }) => example.score),
  };
}

interface Ranked extends DrawnExample {
  readonly example: RankedExample;
}

interface Scored extends DrawnExample {
  readonly example: ScoredExample;
}

function isRanked(drawn: DrawnExample): drawn is Ranked {
  return drawn.example.form === 'ranked';
}

function isScored(drawn: DrawnExample): drawn is Scored {
  return drawn.example.form === 'scored';
}

function rankedRoles(
  ranked: readonly Ranked[],
  negatives: readonly {
    readonly text: string;
    readonly query: number;
    readonly group: string | undefined;
  }[],
  inBatch: readonly boolean[],
): RankedRoles {
  const ids = numbering();
  const numbers = numbering();
  const numberOf = (group: string | undefined): number => (group === undefined ? -1 : numbers(group));
  const groups = ranked.map(({ example }) => numberOf(example.group));
  return {
    queries: ranked.length,
    owner: Int32Array.from([...ranked.keys(), ...negatives.map(({ query }) => query)]),
    queryIds: Int32Array.from(ranked, ({ example }) => ids(example.query)),
    documentIds: Int32Array.from([
      ...ranked.map(({ example }) => ids(example.positive)),
      ...negatives.map(({ text }) => ids(text)),
    ]),
    groups: Int32Array.from(groups),
    documentGroups: Int32Array.from([...groups, ...negatives.map(({ group }) => numberOf(group))]),
    inBatch: Uint8Array.from(ranked, ({ set }) => (inBatch[set] === false ? 0 : 1)),
    teacher: ranked.map(({ example }) => example.teacher),
  };
}

function numbering(): (text: string) => number {
  const numbers = new Map<string, number>();
  return (text) => {
    const known = numbers.get(text);
    if (known !== undefined) return known;
    numbers.set(text, numbers.size);
    return numbers.size - 1;
  };
}

/**
 * Rows `first` to `first + rows` of the matrix [Q, M] that is 1 where a document is no negative of a query: another example's without
 * in-batch negatives; and, where duplicates are masked, the same text as the query or its positive, the positive of an equal query, and
 * positives of the query's class.
 */
export function excludedDocuments(
  roles: RankedRoles,
  { first, rows, columns, maskDuplicates }: ExclusionOptions,
): Float32Array {
  const { queries, owner, queryIds, documentIds, groups, documentGroups, inBatch } = roles;
  const excluded = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const query = first + row;
    const at = row * columns;
    if (query >= queries) continue;
    // Blank documents.
    excluded.fill(1, at + owner.length, at + columns);
    const own = documentIds[query];
    const id = queryIds[query];
    const group = groups[query] as number;
    const alone = inBatch[query] === 0;
    for (let document = 0; document < owner.length; document++) {
      if (document === query) continue;
      const of = owner[document] as number;
      const other = of !== query;
      const duplicate =
        documentIds[document] === own ||
        documentIds[document] === id ||
        (document < queries && queryIds[of] === id) ||
        (group >= 0 && documentGroups[document] === group);
      if ((other && alone) || (maskDuplicates && duplicate)) excluded[at + document] = 1;
    }
  }
  return excluded;
}

export interface ExclusionOptions {
  readonly first: number;
  readonly rows: number;
  /** At least the number of documents; what is beyond is excluded. */
  readonly columns: number;
  readonly maskDuplicates: boolean;
}

/** The roles with queries and positives exchanged: for the loss from positives to queries. */
export function reversedRoles(roles: RankedRoles): RankedRoles {
  const { queries, queryIds, documentIds, owner, groups } = roles;
  return {
    ...roles,
    owner: owner.slice(0, queries),
    queryIds: documentIds.slice(0, queries),
    documentIds: queryIds,
    documentGroups: groups,
    teacher: [],
  };
}
