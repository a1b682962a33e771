import { userError } from '../shared/errors.js';
import type { DecoderConfig } from './decoder-config.js';
import type { Decoder } from './decoder.js';
import { configWithBiases } from './families/index.js';
import { biasNames, weightShapes } from './weight-shapes.js';

/** Whether nothing in a decoder's blocks has a bias that BitFit could train. */
export function lacksBiases(config: DecoderConfig): boolean {
  return config.num_hidden_layers > 0 && biasesOf(config).length === 0;
}

/** Names of the biases that lmvec added to a decoder; none where it has biases of its own. */
export function addedBiases(config: DecoderConfig): string[] {
  return config.structures.some((structure) => structure.addedBiases === true) ? biasesOf(config) : [];
}

/** The biases of a decoder's blocks. */
function biasesOf(config: DecoderConfig): string[] {
  return biasNames(config, weightShapes(config).keys());
}

/** The configuration of a decoder with a bias on every matrix. */
export function withBiasesConfig(config: DecoderConfig): DecoderConfig {
  return {
    ...config,
    structures: config.structures.map((structure) => ({ ...structure, addedBiases: true })),
  };
}

/**
 * A decoder without biases with one on every matrix of its blocks that an adapter would be put on (BitFit for families that have none); as it
 * is where it has some. Its config.json says so where its family has words for it. The other weights are shared, not copied.
 * @param values of the biases by their names (default: zeros, which change nothing)
 * @throws UserError where a bias is missing or does not fit
 */
export function withAddedBiases(
  decoder: Decoder,
  { values, where }: { readonly values?: ReadonlyMap<string, Float32Array>; readonly where?: string } = {},
): Decoder {
  if (!lacksBiases(decoder.config)) return decoder;
  const config = withBiasesConfig(decoder.config);
  const shapes = new Map(decoder.shapes);
  const weights = new Map(decoder.weights);
  const all = weightShapes(config);
  for (const name of biasesOf(config)) {
    const shape = all.get(name) ?? [];
    const length = shape.reduce((product, size) => product * size, 1);
    const given = values === undefined ? new Float32Array(length) : values.get(name);
    if (given?.length !== length)
      throw userError({
        what: `the bias ${name} does not fit the model`,
        ...(where === undefined ? {} : { where }),
        got: given === undefined ? 'nothing' : `${given.length} values`,
        expected: `${length} values`,
      });
    shapes.set(name, shape);
    weights.set(name, given);
  }
  return {
    ...decoder,
    config,
    rawConfig: configWithBiases(decoder.rawConfig) ?? decoder.rawConfig,
    shapes,
    weights,
  };
}

/** Whether a decoder's config.json says all biases that it has. */
export function configSaysBiases({ config, rawConfig }: Pick<Decoder, 'config' | 'rawConfig'>): boolean {
  return addedBiases(config).length === 0 || configWithBiases(rawConfig) !== undefined;
}
