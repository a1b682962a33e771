import type { TextList } from '../../data/text-list.js';
import type { TextTokenizer } from '../../data/tokenizer.js';
import { internalError, userError } from '../../shared/errors.js';

/** Tokenised texts, end to end, and how often each token occurs. */
export interface Sentences {
  readonly length: number;
  /** Token ids of a text, without those that are skipped. */
  at(index: number): Int32Array;
  /** By token id. */
  readonly counts: Float64Array;
}

/** Tokenises all texts once: four bytes a token. Token `skipped` is left out. @throws UserError where no token is left */
export function tokenisedSentences(
  texts: TextList,
  { tokenizer, skipped }: { readonly tokenizer: TextTokenizer; readonly skipped: number | undefined },
): Sentences {
  let ids = new Int32Array(1 << 16);
  const starts = new Float64Array(texts.length + 1);
  const counts = new Float64Array(tokenizer.size);
  let used = 0;
  let index = 0;
  for (const text of texts) {
    const encoded = tokenizer.encode(text);
    if (used + encoded.length > ids.length) {
      const larger = new Int32Array(2 * Math.max(ids.length, encoded.length));
      larger.set(ids);
      ids = larger;
    }
    for (const id of encoded) {
      if (id === skipped) continue;
      ids[used++] = id;
      counts[id] = (counts[id] ?? 0) + 1;
    }
    starts[++index] = used;
  }
  if (used === 0) throw userError({ what: 'no word of the training texts is known', where: 'data.train' });
  return {
    length: texts.length,
    counts,
    at: (text) => {
      const [start, end] = [starts[text], starts[text + 1]];
      if (start === undefined || end === undefined) throw internalError(`no text ${text}`);
      return ids.subarray(start, end);
    },
  };
}
