/** One text as the model sees it. `ids` [n] token ids, `pool` [n] 1 where the token is pooled, 0 for instruction and frame tokens. */
export interface TokenizedText {
  readonly ids: Int32Array;
  readonly pool: Uint8Array;
}

/** Where a text lies in a packed batch, and what keys its randomness. */
export interface PlacedText {
  /** Index of the text in the list that was packed. */
  readonly index: number;
  readonly row: number;
  readonly start: number;
  readonly length: number;
}

/**
 * Texts laid end to end in R rows of T tokens. A padded batch is the special case of one text per row.
 * Blank places have segment 0; a text's segment is its `index` + 1, so attention is allowed where segments are equal.
 */
export interface Batch {
  /** R */
  readonly rows: number;
  /** T */
  readonly tokensPerRow: number;
  /** [R, T] */
  readonly inputIds: Int32Array;
  /** [R, T], restarting at 0 in each text. */
  readonly positions: Int32Array;
  /** [R, T] */
  readonly segments: Int32Array;
  /** [R, T] */
  readonly poolMask: Uint8Array;
  readonly texts: readonly PlacedText[];
}
