import { userError } from '../shared/errors.js';
import { transpose } from '../shared/matrix.js';
import { hashKey, hashString, randomStream } from '../shared/random.js';
import { blockPrefix, structureOf, type DecoderConfig, type MatrixLayout } from './decoder-config.js';
import { blockMatrices, type BlockMatrix } from './weight-shapes.js';

export interface LoraOptions {
  readonly rank: number;
  readonly alpha: number;
  /** Last parts of the names of the matrices that get an adapter: `q_proj`; or all matrices of a block but those of chosen experts. */
  readonly targetModules: 'all' | readonly string[];
}

/** Shapes of all adapter parameters: A [r, in] and B [out, r] of every adapted matrix, by their names in the checkpoint. */
export function loraShapes(
  config: DecoderConfig,
  { rank, targetModules }: LoraOptions,
): Map<string, readonly [number, number]> {
  const shapes = new Map<string, readonly [number, number]>();
  const known = new Set<string>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const [name, matrix] of Object.entries(matricesOf(config, layer))) {
      const last = name.slice(name.lastIndexOf('.') + 1);
      known.add(last);
      if (targetModules === 'all' ? matrix.expert : !targetModules.includes(last)) continue;
      shapes.set(`${blockPrefix(config, layer)}${name}.lora_A.weight`, [rank, matrix.in]);
      shapes.set(`${blockPrefix(config, layer)}${name}.lora_B.weight`, [matrix.out, rank]);
    }
  }
  const missing = targetModules === 'all' ? [] : targetModules.filter((name) => !known.has(name));
  if (missing.length > 0) {
    throw userError({
      what: `a ${config.model_type} model has no such matrix`,
      where: 'tuning.targetModules',
      got: missing.join(', '),
      expected: `all, or some of ${[...known].join(', ')}`,
    });
  }
  return shapes;
}

function matricesOf(config: DecoderConfig, layer: number): Readonly<Record<string, BlockMatrix>> {
  return blockMatrices(structureOf(config, layer), config.hidden_size);
}

/** Shape of an adapter's parameter from its name and its number of values; undefined where it is none of this decoder's. */
export function adapterShape(
  config: DecoderConfig,
  name: string,
  values: number,
): readonly number[] | undefined {
  const parts = /^(.*?)(\d+)\.(.+)\.lora_([AB])\.weight$/.exec(name);
  if (parts === null || parts[1] !== config.blocks || config.layers[Number(parts[2])] === undefined)
    return undefined;
  const matrix = matricesOf(config, Number(parts[2]))[parts[3] ?? ''];
  if (matrix === undefined) return undefined;
  return parts[4] === 'A' ? [values / matrix.in, matrix.in] : [matrix.out, values / matrix.out];
}

/** How a decoder stores the matrices of its blocks. */
export function matrixLayout(config: DecoderConfig): MatrixLayout {
  return config.structures[0]?.layout ?? 'outIn';
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

/** W += scale * B A, in place. W [out, in] or, where `layout` says so, [in, out]; A [r, in], B [out, r]. */
export function mergeLora(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  {
    rank,
    scale,
    layout = 'outIn',
  }: { readonly rank: number; readonly scale: number; readonly layout?: MatrixLayout },
): void {
  if (layout === 'inOut') {
    // The transpose of B A is A^T B^T: the roles of the two change places.
    const options = { rank, scale };
    mergeLora(weight, transpose(b, b.length / rank, rank), transpose(a, rank, a.length / rank), options);
    return;
  }
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
