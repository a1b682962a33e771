import { userError } from '../../shared/errors.js';
import type { WeightStore } from './types.js';

/** Non-trained buffers that old checkpoints carry along. */
const buffers = /\.(rotary_emb\.inv_freq|masked_bias|attn\.bias)$/;

/**
 * The causal language model's name of a weight: a base model's folder (AutoModel) has no `model.` in front.
 * Undefined for a buffer that is no weight.
 */
export function canonicalName(name: string): string | undefined {
  if (buffers.test(name)) return undefined;
  return /^(embed_tokens|layers|norm)\./.test(name) ? `model.${name}` : name;
}

/** A store under other names. `stored` maps the name outside to the name inside. */
export function renamedStore(store: WeightStore, stored: ReadonlyMap<string, string>): WeightStore {
  return {
    names: [...stored.keys()],
    info: (name) => {
      const info = store.info(stored.get(name) ?? '');
      return info === undefined ? undefined : { ...info, name };
    },
    read: (name) => store.read(stored.get(name) ?? name),
    close: () => store.close(),
  };
}

/** Canonical names of a checkpoint's tensors, without a head where it is tied. @throws UserError where two become one. */
export function canonicalNames(
  names: readonly string[],
  options: { tied: boolean; where: string },
): Map<string, string> {
  const stored = new Map<string, string>();
  for (const name of names) {
    const canonical = canonicalName(name);
    if (canonical === undefined || (options.tied && canonical === 'lm_head.weight')) continue;
    const other = stored.get(canonical);
    if (other !== undefined) {
      throw userError({
        what: `two tensors for ${canonical}`,
        where: options.where,
        got: `${other} and ${name}`,
      });
    }
    stored.set(canonical, name);
  }
  return stored;
}
