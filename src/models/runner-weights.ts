import { TensorPool } from '../compiler/pool.js';
import type { HostTensors } from '../compiler/compile.js';
import type { ComputePrecision, HalfPrecision } from '../compiler/precision.js';
import { floats, floatTensor, halfTensor, intTensor, type HostTensor } from '../compiler/program.js';
import { internalError, userError } from '../shared/errors.js';
import { ADDED_ROWS } from './added-tokens.js';
import { blockPrefix } from './decoder-config.js';
import type { Decoder } from './decoder.js';
import { adapterShape } from './lora.js';
import { expandInto, expandRows, isPacked, type Weight } from './resident.js';
import { blockWeightShapes, embeddingShapes } from './weight-shapes.js';
import { fedAsHalf } from './weights/half.js';

/**
 * The weights of one runner as tensors: over the decoder's own memory where they are float32; packed ones are expanded block by block into
 * memory that the next block takes again; frozen matrices of blocks that multiply halves are halves, half as much to carry to a device.
 * Each thread has its own, as ONNX Runtime takes no memory that threads share.
 */
export class RunnerWeights {
  private readonly tensors = new Map<string, HostTensor>();
  private readonly packed = new Set<string>();
  /** Frozen matrices of blocks that multiply halves; made when first asked for. */
  private readonly halves = new Map<string, HostTensor>();
  private readonly pool: TensorPool;
  private readonly precision: ComputePrecision;
  /** Holds the memory of one block. */
  private readonly scratch = new TensorPool();
  /** What is expanded at the moment. */
  private expanded:
    { readonly layer: number; readonly params: HostTensors; readonly made: HostTensor[] } | undefined;

  constructor(
    private readonly decoder: Pick<Decoder, 'config' | 'weights' | 'shapes'>,
    private readonly trainable: ReadonlyMap<string, Float32Array>,
    {
      pool,
      precision,
    }: {
      /** Of the programs that these weights go to: it keeps copies of what never changes on their device. */
      readonly pool: TensorPool;
      /** What blocks multiply in. */
      readonly precision: ComputePrecision;
    },
  ) {
    this.pool = pool;
    this.precision = precision;
    const table = trainable.has(ADDED_ROWS) ? decoder.config.embedding.weight : undefined;
    for (const [name, weight] of [...decoder.weights, ...trainable]) {
      // Part of the table.
      if (name === ADDED_ROWS) continue;
      if (isPacked(weight)) {
        this.packed.add(name);
        continue;
      }
      const tensor = floatTensor(weight, this.shapeOf(name, weight));
      this.tensors.set(name, tensor);
      if (!trainable.has(name) && name !== table) pool.markConstant(tensor);
    }
  }

  /** A whole weight, which stays float32 from then on where it was packed: for those outside the blocks. */
  get(name: string): HostTensor {
    const known = this.tensors.get(name);
    if (known !== undefined) {
      this.refresh(name, known);
      return known;
    }
    const weight = this.packedWeight(name);
    const tensor = floatTensor(new Float32Array(weight.length), this.shapeOf(name, weight));
    expandInto(weight, floats(tensor));
    this.tensors.set(name, tensor);
    return tensor;
  }

  /** A block's weights and those of `further` by their names without the layer's prefix, until the next block's are asked for. */
  ofBlock(layer: number, further: readonly string[]): HostTensors {
    if (this.expanded?.layer === layer) return this.expanded.params;
    const { config } = this.decoder;
    this.scratch.release(...(this.expanded?.made ?? []));
    this.expanded = undefined;
    const params: Record<string, HostTensor> = {};
    const made: HostTensor[] = [];
    for (const local of new Set([...Object.keys(blockWeightShapes(config, layer)), ...further])) {
      const name = blockPrefix(config, layer) + local;
      if (!this.packed.has(name)) {
        params[local] = this.fed(name);
        continue;
      }
      const weight = this.packedWeight(name);
      const tensor = this.scratch.acquire(this.shapeOf(name, weight));
      expandInto(weight, floats(tensor));
      params[local] = tensor;
      made.push(tensor);
    }
    if (made.length > 0) this.expanded = { layer, params, made };
    return params;
  }

  /**
   * What the first block's input is made from: the embedding's tables and the ids to look up. Of a packed table only the rows of these ids,
   * in their order, with ids that count them.
   */
  embedding(ids: HostTensor): {
    readonly inputIds: HostTensor;
    readonly tables: HostTensors;
    readonly release: () => void;
  } {
    const { config } = this.decoder;
    const name = config.embedding.weight;
    const others = Object.keys(embeddingShapes(config)).filter((other) => other !== name);
    const tables = Object.fromEntries(others.map((other) => [other, this.get(other)]));
    if (!this.packed.has(name))
      return { inputIds: ids, tables: { [name]: this.get(name), ...tables }, release: () => undefined };
    const rows = ids.data as Int32Array;
    const { width } = config.embedding;
    const table = this.scratch.acquire([rows.length, width]);
    expandRows(this.packedWeight(name), rows, { target: floats(table), width });
    return {
      inputIds: intTensor(
        rows.map((_, place) => place),
        ids.dims,
      ),
      tables: { [name]: table, ...tables },
      release: () => this.scratch.release(table),
    };
  }

  /** Gives up the memory of what was expanded. */
  clear(): void {
    this.expanded = undefined;
    this.scratch.clear();
    for (const name of this.packed) this.tensors.delete(name);
    this.halves.clear();
  }

  /** A weight of a block as its programs are fed with it. */
  private fed(name: string): HostTensor {
    const weight = this.get(name);
    const { precision } = this;
    if (precision === 'float32' || this.trainable.has(name) || weight.dims.length !== 2) return weight;
    let tensor = this.halves.get(name);
    if (tensor === undefined) {
      tensor = asHalf(name, weight, precision);
      this.pool.markConstant(tensor);
      this.halves.set(name, tensor);
    }
    return tensor;
  }

  /** Rows that are trained change in a packed weight, not in what was expanded of it. */
  private refresh(name: string, expanded: HostTensor): void {
    if (!this.packed.has(name)) return;
    const { replaced } = this.packedWeight(name);
    if (replaced !== undefined) floats(expanded).set(replaced.values, replaced.from);
  }

  private packedWeight(name: string): Exclude<Weight, Float32Array> {
    const weight = this.decoder.weights.get(name);
    if (weight === undefined || !isPacked(weight)) throw internalError(`no weight ${name}`);
    return weight;
  }

  private shapeOf(name: string, { length }: Pick<Weight, 'length'>): readonly number[] {
    const { shapes, config } = this.decoder;
    const shape = shapes.get(name) ?? adapterShape(config, name, length);
    if (shape === undefined) throw internalError(`no shape for ${name}`);
    return shape;
  }
}

/** @throws UserError where float16 has no number for one of them; what bfloat16 has and float16 has not is fed as float32 */
function asHalf(name: string, weight: HostTensor, precision: HalfPrecision): HostTensor {
  const values = fedAsHalf(floats(weight), precision);
  if (values !== undefined) return halfTensor(values, weight.dims);
  if (precision === 'bfloat16') return weight;
  throw userError({
    what: `${name} has numbers beyond 65,504, where float16 ends`,
    where: 'precision',
    got: precision,
    expected: 'bfloat16 or float32',
  });
}
