export interface MergeOptions {
  /** Distinct words as token ids. */
  readonly words: readonly Uint16Array[];
  /** How often each word occurs. */
  readonly counts: readonly number[];
  readonly firstNewId: number;
  readonly merges: number;
  readonly minimumCount: number;
}

interface Candidate {
  /** `left * 65536 + right`. */
  readonly pair: number;
  readonly count: number;
}

/**
 * The greedy merges of BPE: each time the most frequent pair, among equals the one with the smaller left id, then right id (the order of
 * Hugging Face's trainer). Pair counts are kept up to date word by word; a heap whose entries are checked when taken finds the best.
 */
export function mergePairs(options: MergeOptions): [left: number, right: number][] {
  const words = [...options.words];
  const counts = new Map<number, number>();
  const wordsWith = new Map<number, number[]>();
  words.forEach((word, index) => {
    for (let i = 0; i + 1 < word.length; i++) {
      const pair = pairAt(word, i);
      counts.set(pair, (counts.get(pair) ?? 0) + (options.counts[index] ?? 0));
      remember(wordsWith, pair, index);
    }
  });
  const heap = new CandidateHeap();
  for (const [pair, count] of counts) heap.push({ pair, count });

  const merged: [number, number][] = [];
  while (merged.length < options.merges) {
    const best = heap.pop();
    if (best === undefined) break;
    const count = counts.get(best.pair) ?? 0;
    if (count !== best.count) {
      if (count > 0) heap.push({ pair: best.pair, count });
      continue;
    }
    if (count < Math.max(1, options.minimumCount)) break;
    const newId = options.firstNewId + merged.length;
    merged.push([Math.floor(best.pair / 65536), best.pair % 65536]);

    const born = new Set<number>();
    for (const index of new Set(wordsWith.get(best.pair))) {
      const before = words[index] ?? new Uint16Array();
      const after = replacePair(before, best.pair, newId);
      if (after.length === before.length) continue;
      words[index] = after;
      const weight = options.counts[index] ?? 0;
      for (let i = 0; i + 1 < before.length; i++) {
        const pair = pairAt(before, i);
        counts.set(pair, (counts.get(pair) ?? 0) - weight);
      }
      for (let i = 0; i + 1 < after.length; i++) {
        const pair = pairAt(after, i);
        counts.set(pair, (counts.get(pair) ?? 0) + weight);
        if (after[i] !== newId && after[i + 1] !== newId) continue;
        born.add(pair);
        remember(wordsWith, pair, index);
      }
    }
    wordsWith.delete(best.pair);
    for (const pair of born) heap.push({ pair, count: counts.get(pair) ?? 0 });
  }
  return merged;
}

function pairAt(word: Uint16Array, i: number): number {
  return (word[i] ?? 0) * 65536 + (word[i + 1] ?? 0);
}

function remember(wordsWith: Map<number, number[]>, pair: number, index: number): void {
  const indices = wordsWith.get(pair);
  if (indices === undefined) wordsWith.set(pair, [index]);
  else if (indices[indices.length - 1] !== index) indices.push(index);
}

/** `word` with each occurrence of `pair` replaced, from the left. */
function replacePair(word: Uint16Array, pair: number, newId: number): Uint16Array {
  const out = new Uint16Array(word.length);
  let length = 0;
  for (let i = 0; i < word.length; i++) {
    const found = i + 1 < word.length && pairAt(word, i) === pair;
    out[length] = found ? newId : (word[i] ?? 0);
    length += 1;
    if (found) i += 1;
  }
  return out.slice(0, length);
}

/** Binary heap, the best candidate on top: larger count, then smaller pair. */
class CandidateHeap {
  private readonly items: Candidate[] = [];

  push(item: Candidate): void {
    let at = this.items.length;
    this.items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.isBetter(at, parent)) break;
      this.swap(at, parent);
      at = parent;
    }
  }

  pop(): Candidate | undefined {
    const best = this.items[0];
    const last = this.items.pop();
    if (last === undefined || this.items.length === 0) return best;
    this.items[0] = last;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const child = left + 1 < this.items.length && this.isBetter(left + 1, left) ? left + 1 : left;
      if (child >= this.items.length || !this.isBetter(child, at)) return best;
      this.swap(at, child);
      at = child;
    }
  }

  private isBetter(a: number, b: number): boolean {
    const first = this.items[a];
    const second = this.items[b];
    if (first === undefined || second === undefined) return false;
    return first.count === second.count ? first.pair < second.pair : first.count > second.count;
  }

  private swap(a: number, b: number): void {
    const first = this.items[a];
    const second = this.items[b];
    if (first === undefined || second === undefined) return;
    this.items[a] = second;
    this.items[b] = first;
  }
}
