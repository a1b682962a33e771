import { userError } from '../shared/errors.js';
import type { DecoderConfig } from './decoder-config.js';
import { parseDecoderConfig } from './families/index.js';
import { isPacked, piecesOf, readResident, type Weight } from './resident.js';
import type { ResidentPrecision } from './schema.js';
import { weightShapes } from './weight-shapes.js';
import { checkFinite } from './weights/finite.js';
import type { DecoderSource, JsonObject } from './weights/types.js';

/** A decoder in memory. */
export interface Decoder {
  readonly config: DecoderConfig;
  /** `config.json` as it was read. */
  readonly rawConfig: JsonObject;
  /** By the checkpoint's names; a merged adapter changes them in place. */
  readonly weights: ReadonlyMap<string, Weight>;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly tokenizer: DecoderSource['tokenizer'];
}

/** A decoder whose weights are all float32. */
export interface Float32Decoder extends Decoder {
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** Name of the matrix that makes logits: the embedding where they are tied. */
export function headName({ config, weights }: Pick<Decoder, 'weights' | 'config'>): string {
  const { head } = config.output;
  return head !== undefined && weights.has(head) ? head : config.embedding.weight;
}

/** The weights that may stay packed: the matrices of the blocks, the embedding and the head. */
function mayStayPacked(name: string, shape: readonly number[], config: DecoderConfig): boolean {
  if (shape.length !== 2) return false;
  return name.startsWith(config.blocks) || name === config.embedding.weight || name === config.output.head;
}

/**
 * Reads all weights of a decoder and checks them against its configuration. Where `residentPrecision` is not float32, matrices stay in their few
 * bits, so that no more than one of them is ever float32.
 *
 * @throws UserError listing the first ten tensors that are missing, have another shape, or have no place in the decoder
 */
export async function loadDecoder(source: DecoderSource): Promise<Float32Decoder>;
export async function loadDecoder(
  source: DecoderSource,
  options: { readonly residentPrecision?: ResidentPrecision },
): Promise<Decoder>;
export async function loadDecoder(
  source: DecoderSource,
  { residentPrecision = 'float32' }: { readonly residentPrecision?: ResidentPrecision } = {},
): Promise<Decoder> {
  const config = parseDecoderConfig(source.config, source.path);
  const expected = weightShapes(config);
  const { head } = config.output;
  // A base model's folder has no head: the embedding stands in, as transformers does for tied ones.
  if (head !== undefined && source.weights.info(head) === undefined) expected.delete(head);
  const problems: string[] = [];
  for (const [name, shape] of expected) {
    const info = source.weights.info(name);
    if (info === undefined) problems.push(`${name} is missing`);
    else if (info.shape.join() !== shape.join()) {
      problems.push(`${name} is [${info.shape.join(', ')}] instead of [${shape.join(', ')}]`);
    }
  }
  for (const name of source.weights.names)
    if (!expected.has(name)) problems.push(`${name} has no place in a ${config.model_type} model`);
  if (problems.length > 0) {
    const more = problems.length > 10 ? `; and ${problems.length - 10} more` : '';
    throw userError({
      what: 'the weights do not fit config.json',
      where: source.path,
      got: problems.slice(0, 10).join('; ') + more,
    });
  }
  const weights = new Map<string, Weight>();
  for (const [name, shape] of expected) {
    const precision = mayStayPacked(name, shape, config) ? residentPrecision : 'float32';
    const weight = await readResident(source.weights, name, precision);
    // What is merged into it was checked when it was read.
    const pieces = piecesOf(isPacked(weight) ? { ...weight, merged: [] } : weight);
    checkFinite({ length: weight.length, pieces }, name, source.path);
    weights.set(name, weight);
  }
  return { config, rawConfig: source.config, weights, shapes: expected, tokenizer: source.tokenizer };
}

/** Number of parameters, in all and in the blocks' matrices (those that every token is multiplied with). */
export function parameterCounts(decoder: Pick<Decoder, 'weights' | 'config'>): {
  readonly all: number;
  readonly blocks: number;
} {
  let all = 0;
  let blocks = 0;
  for (const [name, data] of decoder.weights) {
    all += data.length;
    if (name.startsWith(decoder.config.blocks)) blocks += data.length;
  }
  return { all, blocks };
}
