import type { RuntimeOptions } from '../compiler/program.js';
import type { TokenizedText } from '../data/batch.js';
import { positionLimit } from '../models/decoder-config.js';
import type { EmbeddingModel } from '../pooling/embedding-model.js';
import type { EmbedderFile, PooledTokens, Verification } from '../pooling/manifest.js';
import { createModelEncoder, type Embeddings } from '../pooling/packed-encoder.js';
import { internalError } from '../shared/errors.js';
import { packageVersions } from '../shared/package.js';
import { hashKey, randomStream } from '../shared/random.js';
import type { OnnxEmbedder } from './onnx-embedder.js';
import { maskOfGraph } from './pooled-tokens.js';

/** Tokens of the texts that a file is verified with. */
const LENGTHS = [1, 2, 17, 128] as const;
/** Where cosines are averaged. */
const MORE_LENGTHS = [4, 6, 8, 11, 14, 20, 25, 32, 45, 64] as const;
/** Largest absolute difference between components of unit vectors. */
export const TOLERANCE = 1e-4;
/** Of fp16, on average: what is below has lost more than digits. */
const LEAST_COSINE = 0.999;

export type VerifyOptions = RuntimeOptions;

/** What the texts for a file depend on. */
export type FileToVerify = Pick<EmbedderFile, 'pooled' | 'format'> & {
  /** What stands behind every text. */
  readonly ending: readonly number[];
};

/**
 * Texts of random tokens, of 1, 2, 17 and 128 tokens (and lengths between), with pool masks of the kind that a graph is for.
 * @param seed of the random tokens (default 0)
 */
export function verificationTexts(
  model: EmbeddingModel,
  { pooled, format, ending }: FileToVerify,
  seed = 0,
): TokenizedText[] {
  const { config } = model.decoder;
  const more = (pooled.kind === 'afterPrefix' ? pooled.tokens : 0) + ending.length;
  const longest = positionLimit(config) - more;
  const lengths = format === 'float32' ? LENGTHS : [...LENGTHS, ...MORE_LENGTHS];
  return lengths.map((length, i) =>
    randomText(Math.min(length, longest), { pooled, ending }, { model, key: hashKey(seed, i) }),
  );
}

/**
 * Runs a written ONNX file in ONNX Runtime against the model that it was written from: texts of random tokens one by one, and
 * together with padding on the right and on the left.
 * @throws an internal error where a float32 file differs by more than 1e-4 in a component of a unit vector, the cosines of an fp16 file are on
 * average below 0.999, or a number of any file is not finite
 */
export async function verifyFile(
  file: FileToVerify & Pick<EmbedderFile, 'path'>,
  embedder: OnnxEmbedder,
  { model, ...runtime }: VerifyOptions & { readonly model: EmbeddingModel },
): Promise<Verification> {
  const texts = verificationTexts(model, file);
  // Few texts, and the file's own weights are in memory too.
  const encoder = createModelEncoder(model, { ...runtime, copies: 1 });
  const expected = await encoder.encodeTokens(texts).finally(() => encoder.dispose());
  const alone: Embeddings[] = [];
  for (const text of texts) alone.push(await embedder.run([text], 'right'));
  const batches = [joined(alone), await embedder.run(texts, 'right'), await embedder.run(texts, 'left')];
  const compared = batches.map((batch) => compareRows(batch, expected));
  const verification: Verification = {
    runtime: `onnxruntime-node ${packageVersions().dependencies['onnxruntime-node'] ?? ''}`.trim(),
    lengths: texts.map(({ ids }) => ids.length),
    largestDifference: Math.max(...compared.map(({ difference }) => difference)),
    smallestCosine: Math.min(...compared.map(({ smallest }) => smallest)),
    meanCosine: Math.min(...compared.map(({ mean }) => mean)),
    ...(file.format === 'float32' ? { tolerance: TOLERANCE } : {}),
  };
  const { largestDifference: largest, smallestCosine: least, meanCosine: mean = 0 } = verification;
  const right =
    file.format === 'float32' ? largest <= TOLERANCE : mean >= (file.format === 'fp16' ? LEAST_COSINE : -1);
  if (!right) {
    throw internalError(
      `${file.path} is not the model: unit vectors differ by up to ${largest} (at most ${TOLERANCE} in float32), smallest cosine ${least}`,
    );
  }
  return verification;
}

/** A text of random tokens with a pool mask of the kind that the graph is for. */
function randomText(
  length: number,
  { pooled, ending }: { readonly pooled: PooledTokens; readonly ending: readonly number[] },
  { model, key }: { readonly model: EmbeddingModel; readonly key: number },
): TokenizedText {
  const random = randomStream(key);
  const own = length + (pooled.kind === 'afterPrefix' ? pooled.tokens : 0);
  const drawn = Int32Array.from({ length: own }, () => random.integer(model.decoder.config.vocab_size));
  const ids = Int32Array.from([...drawn, ...ending]);
  const tokens = ids.length;
  const middle = (): Uint8Array =>
    new Uint8Array(tokens).fill(1, Math.floor(tokens / 4), Math.max(1, Math.floor((3 * tokens) / 4)));
  return { ids, pool: maskOfGraph(pooled, tokens) ?? middle() };
}

function joined(parts: readonly Embeddings[]): Embeddings {
  const dimensions = parts[0]?.dimensions ?? 0;
  const data = new Float32Array(parts.length * dimensions);
  for (const [row, part] of parts.entries()) data.set(part.data, row * dimensions);
  return { rows: parts.length, dimensions, data };
}

/** Rows of unit vectors beside each other. NaN where anything is not a number, which is within no tolerance. */
export function compareRows(
  actual: Embeddings,
  expected: Embeddings,
): { readonly difference: number; readonly smallest: number; readonly mean: number } {
  let difference = actual.data.length === expected.data.length ? 0 : NaN;
  let smallest = 1;
  let sum = 0;
  for (let row = 0; row < expected.rows; row++) {
    let dot = 0;
    for (let i = row * expected.dimensions; i < (row + 1) * expected.dimensions; i++) {
      const [a, b] = [actual.data[i] as number, expected.data[i] as number];
      difference = Math.max(difference, Math.abs(a - b));
      dot += a * b;
    }
    smallest = Math.min(smallest, dot);
    sum += dot;
  }
  return { difference, smallest, mean: sum / expected.rows };
}
