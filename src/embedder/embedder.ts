import { chooseRuntime, type RuntimeChoice } from '../compiler/runtime.js';
import { createTokenizer, type TextTokenizer } from '../data/tokenizer.js';
import { promptPresets } from '../data/prompt-presets.js';
import type { TokenizedText } from '../data/batch.js';
import type { TextPreparer } from '../data/prompts.js';
import { readTokenizer } from '../models/weights/hf-folder.js';
import type { ResidentPrecision } from '../models/schema.js';
import { localModel } from '../models/weights/index.js';
import {
  recipePreparer,
  withPrompt,
  type EmbeddingModel,
  type EmbeddingRecipe,
} from '../pooling/embedding-model.js';
import { loadEmbeddingModel, promptOf, type RecipeOverrides } from '../pooling/load-model.js';
import { readManifest, type EmbedderFile, type ExportFormat, type Manifest } from '../pooling/manifest.js';
import { normaliseRows, type Embeddings } from '../pooling/packed-encoder.js';
import { nearest, userError } from '../shared/errors.js';
import { exists, statOrUserError } from '../shared/files.js';
import { chosenFile, onnxBackend, packedBackend, type Backend } from './backend.js';

/** Parts of the recipe to change, and how to run. */
export interface EmbedderOptions extends RecipeOverrides, RuntimeChoice {
  /** How frozen weights lie in memory (default float32); others take less of it and more time. Of an exported folder the weights are run then, not the graph. */
  readonly residentPrecision?: ResidentPrecision;
  /** Which of an exported folder's graphs (default: float32 where it is there). */
  readonly dtype?: ExportFormat;
}

/** How a text becomes tokens. */
export interface TokenizeOptions {
  /** One of the model's prompts by name, a preset's name or a frame with `{text}` in it, in the place of the model's own. */
  readonly prompt?: string;
  /** The name of one of the model's own prompts, or of a preset. */
  readonly promptName?: string;
  /** The instruction in the place of the prompt's `{task}`. */
  readonly task?: string;
  /** What becomes of a text that is too long (default: its end is cut off). */
  readonly tooLong?: 'cut' | 'refuse';
  /** Names a text in errors. */
  readonly where?: (index: number) => string;
}

export interface EncodeOptions extends TokenizeOptions {
  /** Most texts in one run of an exported graph; a packed model needs no such number. */
  readonly batchSize?: number;
  /** Vectors of length 1 (default true). */
  readonly normalize?: boolean;
  /** Keeps the first numbers of every vector: for models that were trained for it. */
  readonly truncateDim?: number;
  readonly precision?: 'float32';
  /** A counter on standard error. */
  readonly showProgress?: boolean;
  readonly onProgress?: (done: number, texts: number) => void;
}

/**
 * Turns texts into vectors: an exported folder through ONNX Runtime, anything else (`embedded`, a decoder, a run's best/) compiled.
 *
 * ```ts
 * const embedder = await Embedder.open('runs/x/embedder');
 * const vectors = await embedder.encode(['a text', 'another']);
 * ```
 */
export class Embedder {
  private readonly preparers = new Map<string, TextPreparer>();

  private constructor(
    readonly recipe: EmbeddingRecipe,
    /** The model in memory; undefined where an exported graph is run. */
    readonly model: EmbeddingModel | undefined,
    /** What the folder says about itself, where it is one of ours. */
    readonly manifest: Manifest | undefined,
    /** The exported graph that is run. */
    readonly file: EmbedderFile | undefined,
    private readonly tokenizer: TextTokenizer,
    private readonly backend: Backend,
  ) {}

  /** @throws UserError where the model cannot be read or an option does not fit it. */
  static async open(model: string, options: EmbedderOptions = {}): Promise<Embedder> {
    const path = await localModel(model);
    const { threads, device, computePrecision, residentPrecision, dtype, ...overrides } = options;
    const runtime = await chooseRuntime({
      ...(threads === undefined ? {} : { threads }),
      ...(device === undefined ? {} : { device }),
      ...(computePrecision === undefined ? {} : { computePrecision }),
    });
    const manifest = await exportedManifest(path);
    const changed =
      residentPrecision !== undefined ||
      runtime.computePrecision !== undefined ||
      Object.keys(overrides).length > 0;
    // TensorFlow runs no ONNX graph: it gets the weights. A graph multiplies in what it was written in.
    if (manifest !== undefined && !changed && runtime.device !== 'tensorflow') {
      const files = await readTokenizer(path);
      const tokenizer = createTokenizer(files.json, files.config, path);
      const file = chosenFile(manifest, path, dtype);
      const backend = await onnxBackend(path, file, runtime);
      return new Embedder(manifest.recipe, undefined, manifest, file, tokenizer, backend);
    }
    if (dtype !== undefined)
      throw userError({
        what:
          manifest === undefined
            ? 'only an exported folder has files of a dtype'
            : 'a changed recipe is computed from the weights, not from a file of a dtype',
        where: path,
        got: `dtype ${dtype}`,
      });
    const { manifest: described, ...loaded } = await loadEmbeddingModel(
      path,
      overrides,
      residentPrecision === undefined ? {} : { residentPrecision },
    );
    const tokenizer = createTokenizer(loaded.decoder.tokenizer.json, loaded.decoder.tokenizer.config, path);
    return new Embedder(
      loaded.recipe,
      loaded,
      described,
      undefined,
      tokenizer,
      packedBackend(loaded, runtime),
    );
  }

  /**
   * Embeddings [N, E], row-major, in the order of the texts.
   * @throws UserError naming a text that is empty, or an option that cannot be
   */
  async encode(texts: string | readonly string[], options: EncodeOptions = {}): Promise<Embeddings> {
    checkOptions(options);
    const list = typeof texts === 'string' ? [texts] : texts;
    return this.encodeTokens(this.tokenize(list, options), options);
  }

  /**
   * The tokens of each text as the model reads them, prompt and special tokens included, and which of them are pooled.
   * @throws UserError naming a text that is empty (or too long, where that is refused), or a prompt that cannot be
   */
  tokenize(texts: readonly string[], options: TokenizeOptions = {}): TokenizedText[] {
    const prepare = this.preparer(options);
    return texts.map((text, index) => prepare(text, options.where?.(index) ?? `text ${index + 1}`));
  }

  /** The same as `encode` of texts that are tokenised already; what `tokenize` gives of different prompts may go together. */
  async encodeTokens(
    texts: readonly TokenizedText[],
    options: Omit<EncodeOptions, keyof TokenizeOptions> = {},
  ): Promise<Embeddings> {
    checkOptions(options);
    const { normalize = true, truncateDim, batchSize } = options;
    const embeddings = await this.backend.embed(texts, {
      normalise: normalize,
      ...(batchSize === undefined ? {} : { batchSize }),
      onProgress: (done) => {
        options.onProgress?.(done, texts.length);
        if (options.showProgress === true)
          process.stderr.write(`\r${done}/${texts.length} texts${done === texts.length ? '\n' : ''}`);
      },
    });
    return truncateDim === undefined ? embeddings : truncated(embeddings, truncateDim, normalize);
  }

  /** Cosines [N, M] of the rows of `a` [N, E] with the rows of `b` [M, E]. */
  similarity(a: Embeddings, b: Embeddings): Embeddings {
    if (a.dimensions !== b.dimensions) {
      throw userError({
        what: 'vectors of different lengths cannot be compared',
        got: `${a.dimensions} and ${b.dimensions}`,
      });
    }
    const [left, right] = [a, b].map((rows) => {
      const copy = { ...rows, data: rows.data.slice() };
      normaliseRows(copy);
      return copy.data;
    }) as [Float32Array, Float32Array];
    const data = new Float32Array(a.rows * b.rows);
    for (let i = 0; i < a.rows; i++) {
      for (let j = 0; j < b.rows; j++) {
        let dot = 0;
        for (let d = 0; d < a.dimensions; d++)
          dot += (left[i * a.dimensions + d] as number) * (right[j * b.dimensions + d] as number);
        data[i * b.rows + j] = dot;
      }
    }
    return { rows: a.rows, dimensions: b.rows, data };
  }

  /** Frees what the runtime holds. */
  async dispose(): Promise<void> {
    await this.backend.dispose();
  }

  private preparer({ prompt, promptName, task, tooLong = 'cut' }: TokenizeOptions): TextPreparer {
    const own = this.recipe.prompts ?? {};
    if (
      promptName !== undefined &&
      !Object.hasOwn(own, promptName) &&
      !Object.hasOwn(promptPresets, promptName)
    ) {
      const names = [...Object.keys(own), ...Object.keys(promptPresets)];
      const near = nearest(promptName, names);
      throw userError({
        what: 'unknown promptName',
        got: JSON.stringify(promptName),
        expected: names.join(', '),
        ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
      });
    }
    const { prompt: asked } = withPrompt(this.recipe, prompt ?? promptName);
    const other = promptOf(asked, { task });
    const key = JSON.stringify([other, tooLong]);
    let prepare = this.preparers.get(key);
    if (prepare === undefined) {
      const recipe = other === undefined ? this.recipe : { ...this.recipe, prompt: other };
      prepare = recipePreparer(recipe, this.tokenizer, tooLong);
      this.preparers.set(key, prepare);
    }
    return prepare;
  }
}

async function exportedManifest(path: string): Promise<Manifest | undefined> {
  if (path === 'embedded' || !(await exists(path))) return undefined;
  const stats = await statOrUserError(path, 'model');
  const manifest = stats.isDirectory() ? await readManifest(path) : undefined;
  return manifest?.kind === 'embedder' ? manifest : undefined;
}

function checkOptions({ batchSize, precision, prompt, promptName }: EncodeOptions): void {
  if (batchSize !== undefined && !(Number.isSafeInteger(batchSize) && batchSize >= 1))
    throw userError({
      what: 'unusable batchSize',
      got: String(batchSize),
      expected: 'a whole number of at least 1',
    });
  // JavaScript callers are not held by the type.
  const given: string = precision ?? 'float32';
  if (given !== 'float32') throw userError({ what: 'unknown precision', got: given, expected: 'float32' });
  if (prompt !== undefined && promptName !== undefined)
    throw userError({ what: 'prompt and promptName are both given', expected: 'one of them' });
}

/** The first `size` numbers of each row, at unit length again where the rows were. */
export function truncated(
  { rows, dimensions, data }: Embeddings,
  size: number,
  normalise: boolean,
): Embeddings {
  if (!Number.isSafeInteger(size) || size < 1 || size > dimensions)
    throw userError({ what: 'unusable truncateDim', got: String(size), expected: `1 to ${dimensions}` });
  const cut = new Float32Array(rows * size);
  for (let row = 0; row < rows; row++)
    cut.set(data.subarray(row * dimensions, row * dimensions + size), row * size);
  const result = { rows, dimensions: size, data: cut };
  if (normalise) normaliseRows(result);
  return result;
}
