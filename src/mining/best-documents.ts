/** Documents whose largest score is found in the graph: only where it is good enough are they looked at one by one. */
export const GROUP = 8;

/** The best documents of a query, best first. */
export interface Hits {
  readonly documents: Int32Array;
  readonly scores: Float32Array;
}

/** What is no candidate of a query. */
export interface Exclusions {
  /** By query: numbers of documents. */
  readonly skip?: readonly ReadonlySet<number>[];
  /** [queries]: documents with this score or a higher one. */
  readonly ceilings?: Float32Array;
}

/** Scores of some documents for all queries of a block. */
export interface DocumentScores {
  /** [documents, width] */
  readonly scores: Float32Array;
  /** [documents / GROUP, width]: the best of each group. */
  readonly groups: Float32Array;
  /** Queries of a row, blank ones at its end included. */
  readonly width: number;
  /** Number of the first document. */
  readonly first: number;
  /** Documents that are no blank ones. */
  readonly count: number;
}

/**
 * The best documents so far of each query of a block: a heap each, whose first is the worst of them. Documents come in the order of their
 * numbers: an equal score that comes later is no better.
 */
export class BestDocuments {
  /** [queries, most] */
  private readonly documents: Int32Array;
  private readonly scores: Float32Array;
  /** By query: how many it has, and what a score has to be above. */
  private readonly counts: Int32Array;
  private readonly floors: Float32Array;

  /** @param most documents of a query */
  constructor(
    private readonly queries: number,
    private readonly most: number,
    private readonly exclusions: Exclusions = {},
  ) {
    this.documents = new Int32Array(queries * most);
    this.scores = new Float32Array(queries * most);
    this.counts = new Int32Array(queries);
    this.floors = new Float32Array(queries).fill(-Infinity);
  }

  add(part: DocumentScores): void {
    const { queries, floors } = this;
    const { groups, width, count } = part;
    for (let from = 0; from < count; from += GROUP) {
      const row = (from / GROUP) * width;
      for (let query = 0; query < queries; query++)
        // Not "above": the largest of a group with a NaN is NaN.
        if (!((groups[row + query] as number) <= (floors[query] as number))) this.addGroup(query, from, part);
    }
  }

  private addGroup(query: number, from: number, { scores, width, first, count }: DocumentScores): void {
    const { floors } = this;
    const { skip, ceilings } = this.exclusions;
    const skipped = skip?.[query];
    const ceiling = ceilings?.[query] ?? Infinity;
    const end = Math.min(from + GROUP, count);
    for (let place = from; place < end; place++) {
      const score = scores[place * width + query] as number;
      if (!(score > (floors[query] as number)) || score >= ceiling) continue;
      if (skipped?.has(first + place) !== true) this.push(query, first + place, score);
    }
  }

  private push(query: number, document: number, score: number): void {
    const count = this.counts[query] as number;
    if (count < this.most) {
      this.rise(query, count, document, score);
      this.counts[query] = count + 1;
    } else this.sink(query, document, score);
    if (this.counts[query] === this.most) this.floors[query] = this.scores[query * this.most] as number;
  }

  /** Puts a document at the end of a heap and moves it to where it belongs. */
  private rise(query: number, end: number, document: number, score: number): void {
    const first = query * this.most;
    let free = end;
    while (free > 0) {
      const parent = (free - 1) >> 1;
      if (this.isWorse(first + parent, score, document)) break;
      this.move(first + parent, first + free);
      free = parent;
    }
    this.put(first + free, document, score);
  }

  /** Puts a document in the place of a full heap's worst and moves it to where it belongs. */
  private sink(query: number, document: number, score: number): void {
    const { most, scores, documents } = this;
    const first = query * most;
    let free = 0;
    for (;;) {
      let child = 2 * free + 1;
      if (child >= most) break;
      const [left, right] = [first + child, first + child + 1];
      if (child + 1 < most && this.isWorse(right, scores[left] as number, documents[left] as number))
        child += 1;
      if (!this.isWorse(first + child, score, document)) break;
      this.move(first + child, first + free);
      free = child;
    }
    this.put(first + free, document, score);
  }

  private move(from: number, to: number): void {
    this.put(to, this.documents[from] as number, this.scores[from] as number);
  }

  private put(place: number, document: number, score: number): void {
    this.documents[place] = document;
    this.scores[place] = score;
  }

  /** Whether what lies at a place is worse than a document with a score: of equal ones the later is. */
  private isWorse(place: number, score: number, document: number): boolean {
    const own = this.scores[place] as number;
    return own < score || (own === score && (this.documents[place] as number) > document);
  }

  /** Of each query. */
  hits(): Hits[] {
    return Array.from({ length: this.queries }, (_, query) => {
      const first = query * this.most;
      const end = first + (this.counts[query] as number);
      const documents = this.documents.subarray(first, end);
      const scores = this.scores.subarray(first, end);
      const order = Int32Array.from(documents, (_, place) => place);
      order.sort(
        (a, b) =>
          (scores[b] as number) - (scores[a] as number) ||
          (documents[a] as number) - (documents[b] as number),
      );
      return {
        documents: order.map((place) => documents[place] as number),
        scores: Float32Array.from(order, (place) => scores[place] as number),
      };
    });
  }
}
