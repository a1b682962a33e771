import { add, gather, matMul, mul, reshape, scalar, slice, type Tensor } from '@tensorflow/tfjs';
import type { DecoderConfig } from './decoder-config.js';
import { param, type Params } from './layers.js';
import { normed } from './norms.js';

/** ids and positions [R, T] int32 to the first block's input, [R, T, D]. */
export function embed(params: Params, ids: Tensor, positions: Tensor, config: DecoderConfig): Tensor {
  return normed(params, summedEmbeddings(params, ids, positions, config), config.embedding.norm);
}

/** The same before the norm that some families have there. */
export function summedEmbeddings(
  params: Params,
  ids: Tensor,
  positions: Tensor,
  { embedding, hidden_size: hidden }: DecoderConfig,
): Tensor {
  const { weight, width, scale, projection, positions: learned, segments } = embedding;
  let x: Tensor = gather(param(params, weight), ids);
  if (scale !== undefined) x = mul(x, scale);
  if (projection !== undefined) {
    const [rows, tokens] = ids.shape as [number, number];
    const projected = matMul(reshape(x, [rows * tokens, width]), param(params, projection), false, true);
    x = reshape(projected, [rows, tokens, hidden]);
  }
  if (segments !== undefined) x = add(x, slice(param(params, segments.weight), [0, 0], [1, hidden]));
  if (learned === undefined) return x;
  const places = learned.offset === 0 ? positions : add(positions, scalar(learned.offset, 'int32'));
  return add(x, gather(param(params, learned.weight), places));
}
