import { userError } from '../../shared/errors.js';
import { shortest, type ArchKeys } from './gguf-keys.js';
import type { GgufFile } from './gguf.js';
import type { JsonObject } from './types.js';

/** The rotation in config.json's words, from metadata and from the factors that are stored as tensors. */
export async function ropeConfig(
  file: GgufFile,
  keys: ArchKeys,
  { headDim, theta }: { readonly headDim: number; readonly theta: number },
): Promise<JsonObject> {
  const rotated = keys.integer('rope.dimension_count', 2) ?? headDim;
  const base = {
    rope_theta: keys.number('rope.freq_base') ?? theta,
    ...(rotated === headDim ? {} : { partial_rotary_factor: rotated / headDim }),
  };
  const [long, short] = ['long', 'short'].map((kind) => `rope_factors_${kind}.weight`) as [string, string];
  if (file.info(long) !== undefined && file.info(short) !== undefined) {
    const factors = async (name: string): Promise<number[]> =>
      Array.from(await file.read(name), (factor) => shortest(factor));
    const attention = keys.number('rope.scaling.attn_factor');
    return {
      rope_type: 'longrope',
      ...base,
      long_factor: await factors(long),
      short_factor: await factors(short),
      ...(attention === undefined ? {} : { attention_factor: attention }),
    };
  }
  if (file.info('rope_freqs.weight') !== undefined)
    return llama3Rope(file, {
      theta: base.rope_theta,
      rotated,
      factors: await file.read('rope_freqs.weight'),
    });
  const factor = keys.number('rope.scaling.factor') ?? keys.number('rope.scale_linear') ?? 1;
  const type = keys.text('rope.scaling.type') ?? (factor === 1 ? 'none' : 'linear');
  if (type === 'none' || (type === 'linear' && factor === 1)) return { rope_type: 'default', ...base };
  if (type === 'linear' && factor > 0) return { rope_type: 'linear', ...base, factor };
  if (type === 'yarn') {
    const original = keys.integer('rope.scaling.original_context_length', 1);
    const fast = keys.number('rope.scaling.yarn_beta_fast');
    const slow = keys.number('rope.scaling.yarn_beta_slow');
    return {
      rope_type: 'yarn',
      ...base,
      factor,
      ...(original === undefined ? {} : { original_max_position_embeddings: original }),
      ...(fast === undefined ? {} : { beta_fast: fast }),
      ...(slow === undefined ? {} : { beta_slow: slow }),
    };
  }
  throw userError({
    what: 'this rotary scaling is not supported',
    where: file.path,
    got: `${keys.arch}.rope.scaling.type ${type}, factor ${factor}`,
    expected: 'none, linear, yarn, the factors of Llama 3.1 or those of Phi-3',
  });
}

/**
 * Llama 3.1 and later: GGUF keeps one divisor per frequency instead of the scaling's parameters. All released models have low 1, high 4 and
 * original length 8192; the divisors prove it or the file is refused (transformers, modeling_rope_utils.py, _compute_llama3_parameters).
 */
function llama3Rope(
  file: GgufFile,
  rope: { readonly theta: number; readonly rotated: number; readonly factors: Float32Array },
): JsonObject {
  const { theta, rotated, factors } = rope;
  const factor = shortest(factors.at(-1) ?? 1);
  const [low, high, original] = [1, 4, 8192];
  const fits =
    factors.length === rotated / 2 &&
    factors.every((value, i) => {
      const wavelength = 2 * Math.PI * theta ** ((2 * i) / rotated);
      const smooth = Math.min(1, Math.max(0, (original / wavelength - low) / (high - low)));
      return Math.abs(value * ((1 - smooth) / factor + smooth) - 1) < 1e-4;
    });
  if (!fits) {
    throw userError({
      what: 'cannot read the rotary scaling in rope_freqs.weight',
      where: file.path,
      expected: 'the factors of Llama 3.1, 3.2 or 3.3',
    });
  }
  return {
    rope_type: 'llama3',
    rope_theta: theta,
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}
