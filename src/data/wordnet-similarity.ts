import type { Synset } from './wordnet.js';

/** Similarity of two noun synsets from the shape of WordNet's hypernym graph alone. */
export interface WordNetSimilarity {
  /** Information content, 0 at the root, 1 at a leaf: `1 - ln(descendants + 1) / ln(synsets)` (Seco, Veale and Hayes 2004). */
  informationContent(id: string): number;
  /** `2 IC(most informative common ancestor) / (IC(a) + IC(b))` in [0, 1] (Lin 1998). 1 only for equal synsets, or two roots of equal content. */
  lin(a: string, b: string): number;
  /** The synset itself and everything it is a kind of. */
  ancestors(id: string): ReadonlySet<string>;
}

export function wordNetSimilarity(synsets: readonly Synset[]): WordNetSimilarity {
  const hypernyms = new Map(synsets.map((synset) => [synset.id, synset.hypernyms]));
  const known = new Map<string, ReadonlySet<string>>();
  const ancestors = (id: string): ReadonlySet<string> => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const all = new Set([id]);
    // A set's iterator also visits what is added on the way; a cycle ends because nothing is added twice.
    for (const node of all) for (const parent of hypernyms.get(node) ?? []) all.add(parent);
    known.set(id, all);
    return all;
  };

  const descendants = new Map<string, number>();
  for (const { id } of synsets) {
    for (const ancestor of ancestors(id)) {
      if (ancestor !== id) descendants.set(ancestor, (descendants.get(ancestor) ?? 0) + 1);
    }
  }
  const informationContent = (id: string): number =>
    1 - Math.log((descendants.get(id) ?? 0) + 1) / Math.log(Math.max(2, synsets.length));

  const lin = (a: string, b: string): number => {
    if (a === b) return 1;
    const ofB = ancestors(b);
    let shared = 0;
    for (const node of ancestors(a)) if (ofB.has(node)) shared = Math.max(shared, informationContent(node));
    const total = informationContent(a) + informationContent(b);
    return total === 0 ? 0 : (2 * shared) / total;
  };
  return { informationContent, lin, ancestors };
}
