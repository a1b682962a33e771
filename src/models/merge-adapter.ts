import { userError } from '../shared/errors.js';
import { mergeLora } from './lora.js';
import { isPacked, type Weight } from './resident.js';
import type { MatrixLayout } from './decoder-config.js';
import type { MergedAdapter } from './weights/types.js';

/** W += scale * B A: in place, or whenever W is expanded where it is packed. */
export function mergeInto(weight: Weight, adapter: MergedAdapter): void {
  if (isPacked(weight)) weight.merged.push(adapter);
  else mergeLora(weight, adapter.a, adapter.b, adapter);
}

const LORA_A = '.lora_A.weight';

/**
 * Merges a whole adapter into a decoder's weights: `X.weight` += scale * `X.lora_B.weight` `X.lora_A.weight`.
 * @throws UserError where the adapter does not fit the decoder
 */
export function mergeAdapter(
  weights: ReadonlyMap<string, Weight>,
  tensors: ReadonlyMap<string, Float32Array>,
  options: {
    readonly rank: number;
    readonly alpha: number;
    readonly where: string;
    readonly layout?: MatrixLayout;
  },
): void {
  const { rank, alpha, where, layout = 'outIn' } = options;
  for (const [name, a] of tensors) {
    if (!name.endsWith(LORA_A)) continue;
    const base = name.slice(0, -LORA_A.length);
    const b = tensors.get(`${base}.lora_B.weight`);
    const weight = weights.get(`${base}.weight`);
    if (b === undefined || weight?.length !== (a.length / rank) * (b.length / rank))
      throw userError({ what: `the adapter of ${base} does not fit the model`, where });
    mergeInto(weight, { a, b, rank, scale: alpha / rank, layout });
  }
}
