/** Another order of a tensor's rows. */
export interface MovedRows {
  readonly count: number;
  /** Which row of the file's is row i. */
  readonly order: () => Uint32Array;
}

/** From [heads, headDim/2, 2], paired as GGML's rotary embedding pairs them, to Hugging Face's [heads, 2, headDim/2]. */
export function rowsOfHalves(heads: number, headDim: number): MovedRows {
  const half = headDim / 2;
  return moved(heads * headDim, (row) => {
    const inside = row % headDim;
    return row - inside + 2 * (inside % half) + Math.floor(inside / half);
  });
}

/** From [3, heads, headDim], all queries first, to [heads, 3, headDim]. */
export function rowsByHead(heads: number, headDim: number): MovedRows {
  return moved(3 * heads * headDim, (row) => {
    const kind = Math.floor(row / headDim) % 3;
    const head = Math.floor(row / (3 * headDim));
    return (kind * heads + head) * headDim + (row % headDim);
  });
}

/** The order is made when it is asked for: a file may claim any number of heads. */
function moved(count: number, from: (row: number) => number): MovedRows {
  return { count, order: () => Uint32Array.from({ length: count }, (_, row) => from(row)) };
}

/** Row `order[i]` of `data` as row i of `target`, of values or of whole bytes. */
export function movedRows<Numbers extends Float32Array | Uint8Array>(
  data: Numbers,
  target: Numbers,
  order: Uint32Array,
): Numbers {
  const columns = data.length / order.length;
  for (const [row, from] of order.entries())
    target.set(data.subarray(from * columns, (from + 1) * columns), row * columns);
  return target;
}
