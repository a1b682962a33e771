import { userError } from '../../shared/errors.js';
import type { ExpertNames } from './expert-names.js';
import type { WeightStore } from './types.js';

/** How a family's checkpoints name their weights. */
export interface CheckpointNames {
  /** Before the names of a causal language model's weights; a base model's folder (AutoModel) leaves it out. */
  readonly prefix: string;
  /** What a base model's names begin with. */
  readonly parts: readonly string[];
  /** Undefined in an encoder's. */
  readonly head?: string;
  /** Whether head and embedding are one. */
  readonly tied: boolean;
  /** Where it is a mixture of experts. */
  readonly experts?: ExpertNames;
  /** The name that is meant by one of other times, or of a model around this one; undefined for what is left out, such as poolers. */
  readonly own?: (stored: string) => string | undefined;
}

/** Non-trained buffers that old checkpoints carry along. */
const buffers = /\.(rotary_emb\.inv_freq|masked_bias|(attn|attention)\.bias)$/;

/** The causal language model's name of a weight, in an encoder the base model's. Undefined for a buffer that is no weight. */
export function canonicalName(
  stored: string,
  { prefix, parts, own = (stored) => stored }: Pick<CheckpointNames, 'prefix' | 'parts' | 'own'>,
): string | undefined {
  const name = buffers.test(stored) ? undefined : own(stored);
  if (name === undefined) return undefined;
  return parts.includes(name.slice(0, name.indexOf('.'))) ? prefix + name : name;
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
    readPacked: async (name) => store.readPacked?.(stored.get(name) ?? name),
    close: () => store.close(),
  };
}

/** Canonical names of a checkpoint's tensors, without a head where it is tied. @throws UserError where two become one. */
export function canonicalNames(
  names: readonly string[],
  {
    where,
    nameOf = (name) => name,
    ...checkpoint
  }: CheckpointNames & {
    readonly where: string;
    /** The decoder's name of a tensor; undefined for one that is no part of it. */
    readonly nameOf?: (stored: string) => string | undefined;
  },
): Map<string, string> {
  const stored = new Map<string, string>();
  for (const name of names) {
    const own = nameOf(name);
    const canonical = own === undefined ? undefined : canonicalName(own, checkpoint);
    if (canonical === undefined || (checkpoint.tied && canonical === checkpoint.head)) continue;
    const other = stored.get(canonical);
    if (other !== undefined) {
      throw userError({
        what: `two tensors for ${canonical}`,
        where,
        got: `${other} and ${name}`,
      });
    }
    stored.set(canonical, name);
  }
  return stored;
}
