import { basename, join } from 'node:path';
import type { RuntimeOptions } from '../compiler/program.js';
import type { TextTokenizer } from '../data/tokenizer.js';
import { evaluateTasks, type EvalResult } from '../evaluation/evaluate.js';
import type { Encode } from '../evaluation/encoder.js';
import type { TaskSelection } from '../evaluation/sts.js';
import { recipePreparer, type EmbeddingModel } from '../pooling/embedding-model.js';
import type { EmbedderFile, ExportFormat, Verification } from '../pooling/manifest.js';
import { createModelEncoder, type Embeddings } from '../pooling/packed-encoder.js';
import { convert } from './formats/convert.js';
import { formatSuffix } from './formats/names.js';
import { overflowingProducts } from './formats/overflow.js';
import { embedderGraph } from './graph.js';
import { OnnxEmbedder } from './onnx-embedder.js';
import { writeOnnxFile } from './onnx-file.js';
import { pooledGraphs } from './pooled-tokens.js';
import { endingTokens } from './tokenizer-files.js';
import { compareRows, verificationTexts, verifyFile } from './verify.js';

export interface OnnxFilesOptions extends RuntimeOptions {
  /** Default: float32 alone. */
  readonly formats?: readonly ExportFormat[];
  /** Bytes of weights above which an ONNX file keeps them in a second file. */
  readonly externalAbove?: number;
  /** Sets on which every file is compared with the model. */
  readonly evaluate?: TaskSelection;
}

export interface WrittenFiles {
  readonly files: readonly EmbedderFile[];
  /** Names of the files that keep their weights in a second one. */
  readonly external: readonly string[];
}

/** Writes the graphs of a model, each in every format, and runs each against the model. */
export async function writeOnnxFiles(
  folder: string,
  { model, tokenizer }: { readonly model: EmbeddingModel; readonly tokenizer: TextTokenizer },
  options: OnnxFilesOptions,
): Promise<WrittenFiles> {
  const { formats = ['float32'], externalAbove, evaluate } = options;
  const runtime: RuntimeOptions = {
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(options.device === undefined ? {} : { device: options.device }),
  };
  // The file is for other tools: what they run it on is the CPU.
  const onCpu: RuntimeOptions = { ...runtime, device: 'cpu' };
  const files: EmbedderFile[] = [];
  const external: string[] = [];
  const prepare = recipePreparer(model.recipe, tokenizer);
  const ending = endingTokens(model.recipe, tokenizer);
  const onSets = evaluate === undefined ? undefined : await scoredModel(model, evaluate, runtime);
  for (const { name, pooled } of pooledGraphs(model.recipe, tokenizer)) {
    const graph = embedderGraph(model, pooled, ending);
    for (const format of new Set(formats)) {
      const file = { path: `onnx/${name}${formatSuffix[format]}.onnx`, format, pooled };
      const path = join(folder, file.path);
      const inFloat32 =
        format === 'fp16'
          ? await overflowingProducts(graph, verificationTexts(model, { ...file, ending }), {
              scratch: join(folder, 'onnx', `${name}.ranges`),
              pooled,
              runtime: onCpu,
            })
          : undefined;
      const written = await writeOnnxFile(
        path,
        convert(graph, format, inFloat32),
        externalAbove === undefined ? {} : { externalAbove },
      );
      if (written.external) external.push(basename(path));
      const embedder = await OnnxEmbedder.open(path, pooled, onCpu);
      try {
        const verification = await verifyFile({ ...file, ending }, embedder, { model, ...runtime });
        const sets = await onSets?.((texts) => embedder.encodeTokens(texts.map((text) => prepare(text))));
        files.push({
          ...file,
          verification: {
            ...verification,
            ...(inFloat32 === undefined ? {} : { productsInFloat32: inFloat32.size }),
            ...(sets === undefined ? {} : { sets }),
          },
        });
      } finally {
        await embedder.dispose();
      }
    }
  }
  return { files, external };
}

type OnSets = NonNullable<Verification['sets']>;

/** Scores the model; the function that is given back scores a file of it and compares both. */
async function scoredModel(
  model: EmbeddingModel,
  selection: TaskSelection,
  runtime: RuntimeOptions,
): Promise<(encode: Encode) => Promise<OnSets>> {
  const encoder = createModelEncoder(model, runtime);
  const expected = await scored((texts) => encoder.encode(texts), selection).finally(() => encoder.dispose());
  return async (encode) => {
    const actual = await scored(encode, selection);
    const { smallest, mean } = compareRows(actual.vectors, expected.vectors);
    return {
      texts: expected.vectors.rows,
      smallestCosine: smallest,
      meanCosine: mean,
      scores: expected.results.map(({ task, split, mainScore }, i) => ({
        task,
        split,
        model: mainScore,
        file: actual.results[i]?.mainScore ?? NaN,
      })),
    };
  };
}

async function scored(
  encode: Encode,
  selection: TaskSelection,
): Promise<{ readonly results: readonly EvalResult[]; readonly vectors: Embeddings }> {
  let vectors: Embeddings = { rows: 0, dimensions: 0, data: new Float32Array(0) };
  const results = await evaluateTasks({
    ...selection,
    bootstrap: 0,
    encode: async (texts) => (vectors = await encode(texts)),
  });
  return { results, vectors };
}
