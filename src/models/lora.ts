import { userError } from '../shared/errors.js';
import { hashKey, hashString, randomStream } from '../shared/random.js';
import type { DecoderConfig } from './decoder-config.js';
import { blockMatrixShapes, blockPrefix } from './llama.js';

export interface LoraOptions {
  readonly rank: number;
  readonly alpha: number;
  /** Last parts of the names of the matrices that get an adapter: `q_proj`. */
  readonly targetModules: readonly string[];
}

/** Names (without the layer's prefix) of the matrices that an adapter is put on. */
export function adaptedMatrices(config: DecoderConfig, targetModules: readonly string[]): string[] {
  return Object.keys(blockMatrixShapes(config)).filter((name) =>
    targetModules.includes(name.slice(name.lastIndexOf('.') + 1)),
  );
}

/** Shapes of all adapter parameters: A [r, in] and B [out, r] of every adapted matrix, by their names in the checkpoint. */
export function loraShapes(
  config: DecoderConfig,
  { rank, targetModules }: LoraOptions,
): Map<string, readonly [number, number]> {
  const shapes = new Map<string, readonly [number, number]>();
  const matrices = blockMatrixShapes(config);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const name of adaptedMatrices(config, targetModules)) {
      const [out, width] = matrices[name] as readonly [number, number];
      shapes.set(`${blockPrefix(layer)}${name}.lora_A.weight`, [rank, width]);
      shapes.set(`${blockPrefix(layer)}${name}.lora_B.weight`, [out, rank]);
    }
  }
  return shapes;
}

/** Fresh adapters as peft makes them: A uniform in +-sqrt(1 / in) (Kaiming with a = sqrt 5), B zero, so that training starts at the base model. */
export function initialiseLora(
  config: DecoderConfig,
  options: LoraOptions,
  seed: number,
): Map<string, Float32Array> {
  const parameters = new Map<string, Float32Array>();
  for (const [name, [rows, columns]] of loraShapes(config, options)) {
    const values = new Float32Array(rows * columns);
    if (name.endsWith('.lora_A.weight')) {
      const random = randomStream(hashKey(seed, hashString(name)));
      const bound = Math.sqrt(1 / columns);
      for (let i = 0; i < values.length; i++) values[i] = (2 * random.uniform() - 1) * bound;
    }
    parameters.set(name, values);
  }
  return parameters;
}

/** W += scale * B A, in place. W [out, in], A [r, in], B [out, r]. */
export function mergeLora(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  { rank, scale }: { readonly rank: number; readonly scale: number },
): void {
  const columns = a.length / rank;
  const rows = b.length / rank;
  for (let i = 0; i < rows; i++) {
    const row = weight.subarray(i * columns, (i + 1) * columns);
    for (let r = 0; r < rank; r++) {
      const factor = (b[i * rank + r] as number) * scale;
      if (factor === 0) continue;
      const from = r * columns;
      for (let j = 0; j < columns; j++) row[j] = (row[j] as number) + factor * (a[from + j] as number);
    }
  }
}

/**
 * Merges a whole adapter into a decoder's weights, in place: `X.weight` += scale * `X.lora_B.weight` `X.lora_A.weight`.
 * @throws UserError where the adapter does not fit the decoder
 */
export function mergeAdapter(
  weights: ReadonlyMap<string, Float32Array>,
  tensors: ReadonlyMap<string, Float32Array>,
  { rank, alpha, where }: { readonly rank: number; readonly alpha: number; readonly where: string },
): void {
  for (const [name, a] of tensors) {
    if (!name.endsWith(LORA_A)) continue;
    const base = name.slice(0, -LORA_A.length);
    const b = tensors.get(`${base}.lora_B.weight`);
    const weight = weights.get(`${base}.weight`);
    if (b === undefined || weight?.length !== (a.length / rank) * (b.length / rank))
      throw userError({ what: `the adapter of ${base} does not fit the model`, where });
    mergeLora(weight, a, b, { rank, scale: alpha / rank });
  }
}
const LORA_A = '.lora_A.weight';
