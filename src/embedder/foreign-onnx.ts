import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Tensor } from 'onnxruntime-node';
import { openGraphFile, type GraphFile } from '../compiler/graph-file.js';
import { floats, onnxRuntime, type RuntimeOptions } from '../compiler/program.js';
import { guarded } from '../data/tokenizer.js';
import { Tokenizer, type LibraryTokenizer } from '../data/tokenizer-library.js';
import { readJsonFile } from '../models/weights/json-file.js';
import { normaliseRows, type Embeddings } from '../pooling/packed-encoder.js';
import {
  openReleasedHead,
  readReleasedModules,
  releasedPoolingMode,
  releasedPrompts,
  type ReleasedModules,
} from '../pooling/released-modules.js';
import { internalError, userError } from '../shared/errors.js';
import { exists } from '../shared/files.js';

/** Tokens of one run. */
const RUN_TOKENS = 8192;
/** Where a folder does not say how long a text may be. */
const DEFAULT_TOKENS = 512;

/** ONNX files that a folder of another tool may have, the best first. */
const files = ['onnx/model.onnx', 'model.onnx'];

/**
 * An embedder of another tool: a folder with `onnx/model.onnx` and `tokenizer.json`, as sentence-transformers, optimum and transformers.js have
 * them. Where the graph does not give `sentence_embedding`, the folder's modules say what follows it: pooling and a dense layer.
 */
export class ForeignOnnxEmbedder {
  private constructor(
    private readonly folder: string,
    private readonly session: GraphFile,
    private readonly tokenizer: LibraryTokenizer,
    /** Where the graph does not pool by itself. */
    private readonly after: AfterGraph | undefined,
    /** The folder's own frames: of every text, and by name. */
    readonly frames: Pick<ReleasedModules, 'prompt' | 'prompts'>,
    readonly maxTokens: number,
    /** SHA-256 of the graph. */
    readonly revision: string,
  ) {}

  /** Whether a folder holds such an embedder, and not one of ours. */
  static async isOne(folder: string): Promise<boolean> {
    if (await exists(join(folder, 'lmvec.json'))) return false;
    return (await graphOf(folder)) !== undefined && exists(join(folder, 'tokenizer.json'));
  }

  /** @throws UserError where the folder does not say enough to embed as its makers do. */
  static async open(folder: string, options: RuntimeOptions = {}): Promise<ForeignOnnxEmbedder> {
    const path = await graphOf(folder);
    if (path === undefined)
      throw userError({ what: 'no ONNX file', where: folder, expected: files.join(' or ') });
    const json = await readJsonFile(join(folder, 'tokenizer.json'));
    if (json === undefined) throw userError({ what: 'tokenizer.json is missing', where: folder });
    const config = (await readJsonFile(join(folder, 'tokenizer_config.json'))) ?? {};
    const tokenizer = guarded(
      () => new Tokenizer({ ...json, truncation: null, padding: null }, config),
      join(folder, 'tokenizer.json'),
    );
    const session = await openGraphFile(path, options);
    try {
      const unknown = session.inputNames.filter((name) => !inputs.includes(name));
      if (unknown.length > 0)
        throw userError({
          what: 'the graph asks for more than a text',
          where: path,
          got: unknown.join(', '),
        });
      const pools = session.outputNames.includes('sentence_embedding');
      const modules = pools ? undefined : await readReleasedModules(folder);
      const { prompt, prompts } = modules ?? (await releasedPrompts(folder));
      return new ForeignOnnxEmbedder(
        folder,
        session,
        tokenizer,
        pools ? undefined : await afterGraph(folder, modules),
        { ...(prompt === undefined ? {} : { prompt }), ...(prompts === undefined ? {} : { prompts }) },
        await mostTokens(folder, config),
        await sha256(path),
      );
    } catch (error) {
      await session.release();
      throw error;
    }
  }

  /** Unit vectors [N, E] in the order of the texts. */
  async encode(texts: readonly string[]): Promise<Embeddings> {
    const where = join(this.folder, 'tokenizer.json');
    const ids = texts.map((text) => guarded(() => this.tokens(text), where));
    const order = ids.map((_, i) => i).sort((a, b) => lengthAt(ids, b) - lengthAt(ids, a));
    let result: Embeddings | undefined;
    for (let start = 0; start < order.length;) {
      const longest = lengthAt(ids, order[start] as number);
      const group = order.slice(start, start + Math.max(1, Math.floor(RUN_TOKENS / longest)));
      const { dimensions, data } = await this.run(group.map((i) => ids[i] as readonly number[]));
      result ??= { rows: texts.length, dimensions, data: new Float32Array(texts.length * dimensions) };
      for (const [row, i] of group.entries())
        result.data.set(data.subarray(row * dimensions, (row + 1) * dimensions), i * dimensions);
      start += group.length;
    }
    if (result === undefined) throw internalError('no text to embed');
    normaliseRows(result);
    return result;
  }

  async dispose(): Promise<void> {
    await this.session.release();
  }

  /** With special tokens; a text that is too long loses its end, its last special token stays. */
  private tokens(text: string): readonly number[] {
    const ids = this.tokenizer.encode(text, { add_special_tokens: true }).ids.map((id) => id ?? 0);
    // A post-processor gives what its file says.
    const wrong: unknown = ids.find((id) => !Number.isSafeInteger(id) || id < 0);
    if (wrong !== undefined)
      throw userError({
        what: 'a token is no number',
        where: join(this.folder, 'tokenizer.json'),
        got: JSON.stringify(wrong).slice(0, 60),
        expected: 'whole numbers from 0',
      });
    if (ids.length <= this.maxTokens) return ids;
    const bare = this.tokenizer.encode(text, { add_special_tokens: false }).ids.length;
    const empty = this.tokenizer.encode('', { add_special_tokens: true }).ids.length;
    const closes = empty > 1 && ids.length > bare;
    return closes
      ? [...ids.slice(0, this.maxTokens - 1), ids[ids.length - 1] as number]
      : ids.slice(0, this.maxTokens);
  }

  private async run(texts: readonly (readonly number[])[]): Promise<Embeddings> {
    const tokens = Math.max(...texts.map(({ length }) => length));
    const filled = (valueOf: (id: number) => number): Tensor => {
      const data = new BigInt64Array(texts.length * tokens);
      for (const [row, ids] of texts.entries())
        for (const [i, id] of ids.entries()) data[row * tokens + i] = BigInt(valueOf(id));
      return new (onnxRuntime().Tensor)('int64', data, [texts.length, tokens]);
    };
    const all: Record<string, () => Tensor> = {
      input_ids: () => filled((id) => id),
      attention_mask: () => filled(() => 1),
      token_type_ids: () => filled(() => 0),
    };
    const feeds = Object.fromEntries(
      this.session.inputNames.map((name) => [name, (all[name] as () => Tensor)()]),
    );
    const results = await this.session.run(feeds);
    const whole = results['sentence_embedding'];
    if (whole?.dims.length === 2 && whole.type === 'float32')
      return { rows: texts.length, dimensions: whole.dims[1] as number, data: floats(whole) };
    const states = results['last_hidden_state'] ?? results['token_embeddings'] ?? Object.values(results)[0];
    if (states?.dims.length !== 3 || states.type !== 'float32')
      throw userError({ what: 'the graph gives neither hidden states nor embeddings', where: this.folder });
    if (this.after === undefined) throw internalError('a graph without sentence_embedding, and no pooling');
    const vectors = pooled(states, texts, this.after.pooling);
    return this.after.dense?.(vectors) ?? vectors;
  }
}

const inputs = ['input_ids', 'attention_mask', 'token_type_ids'];

async function graphOf(folder: string): Promise<string | undefined> {
  for (const file of files) if (await exists(join(folder, file))) return join(folder, file);
  return undefined;
}

/** What follows the graph. */
interface AfterGraph {
  readonly pooling: ForeignPooling;
  readonly dense?: (vectors: Embeddings) => Embeddings;
}

type ForeignPooling = 'first' | 'mean' | 'weightedMean' | 'last';

/** @throws UserError where the folder does not say it, or says what is not done here */
async function afterGraph(folder: string, modules: ReleasedModules | undefined): Promise<AfterGraph> {
  if (modules === undefined) {
    const where = join(folder, '1_Pooling', 'config.json');
    if (await exists(where)) return { pooling: (await releasedPoolingMode(where)).type };
    throw userError({
      what: 'the folder does not say how token states become an embedding',
      where,
      expected: 'mean, cls, weightedmean or lasttoken pooling, or a graph with the output sentence_embedding',
    });
  }
  const { type, head } = modules.pooling;
  if (type !== 'first' && type !== 'mean' && type !== 'weightedMean' && type !== 'last')
    throw internalError(`${type} pooling of a folder of another tool`);
  if (head?.type !== 'dense') return { pooling: type };
  const store = await openReleasedHead(folder);
  if (store === undefined)
    throw userError({ what: 'the dense layer has no model.safetensors', where: folder });
  try {
    const weight = await store.read('head.weight');
    const bias = head.bias ? await store.read('head.bias') : new Float32Array(head.dimensions);
    return {
      pooling: type,
      dense: (vectors) => dense(vectors, { weight, bias, tanh: head.activation === 'tanh' }),
    };
  } finally {
    await store.close();
  }
}

/** x W^T + b of rows x [N, D], W [E, D]. */
function dense(
  { rows, dimensions, data }: Embeddings,
  layer: { readonly weight: Float32Array; readonly bias: Float32Array; readonly tanh: boolean },
): Embeddings {
  const { weight, bias, tanh } = layer;
  const result = new Float32Array(rows * bias.length);
  for (let row = 0; row < rows; row++) {
    for (const [out, start] of bias.entries()) {
      let sum = start;
      for (let i = 0; i < dimensions; i++)
        sum += (data[row * dimensions + i] as number) * (weight[out * dimensions + i] as number);
      result[row * bias.length + out] = tanh ? Math.tanh(sum) : sum;
    }
  }
  return { rows, dimensions: bias.length, data: result };
}

async function mostTokens(folder: string, config: Readonly<Record<string, unknown>>): Promise<number> {
  const said = (await readJsonFile(join(folder, 'sentence_bert_config.json')))?.['max_seq_length'];
  for (const value of [said, config['model_max_length']])
    if (typeof value === 'number' && value >= 2 && value < 1e6) return value;
  return DEFAULT_TOKENS;
}

/** [N, T, D] to [N, D], texts padded on the right. */
function pooled(states: Tensor, texts: readonly (readonly number[])[], pooling: ForeignPooling): Embeddings {
  const [rows, tokens, width] = states.dims as [number, number, number];
  const values = floats(states);
  const data = new Float32Array(rows * width);
  for (const [row, { length }] of texts.entries()) {
    const first = pooling === 'last' ? length - 1 : 0;
    const end = pooling === 'first' ? 1 : length;
    const weighted = pooling === 'weightedMean';
    const sum = weighted ? (length * (length + 1)) / 2 : end - first;
    for (let token = first; token < end; token++) {
      const at = (row * tokens + token) * width;
      const share = (weighted ? token + 1 : 1) / sum;
      for (let i = 0; i < width; i++)
        data[row * width + i] = (data[row * width + i] as number) + (values[at + i] as number) * share;
    }
  }
  return { rows, dimensions: width, data };
}

function lengthAt(ids: readonly (readonly number[])[], index: number): number {
  return ids[index]?.length ?? 0;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
