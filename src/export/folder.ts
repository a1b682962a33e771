import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { RuntimeOptions } from '../compiler/program.js';
import { createTokenizer } from '../data/tokenizer.js';
import { configSaysBiases } from '../models/added-biases.js';
import { configText } from '../models/config-text.js';
import { checkpointNames } from '../models/families/index.js';
import { valuesOf } from '../models/resident.js';
import { probeAttention, type ProbeResult } from '../models/probe.js';
import { writeAdapter, writeSafetensors, type Adapter, type TensorToWrite } from '../models/weights/index.js';
import type { EmbeddingModel } from '../pooling/embedding-model.js';
import { writeManifest, type EmbedderFile } from '../pooling/manifest.js';
import { embeddingDimensions, generatedTokens } from '../pooling/registry.js';
import { savePooling } from '../pooling/trained-folder.js';
import { internalError, userError } from '../shared/errors.js';
import { exists, writeFileAtomic, writeFolderAtomic } from '../shared/files.js';
import { modelCard } from './card.js';
import { writeOnnxFiles, type OnnxFilesOptions } from './onnx-files.js';
import {
  DENSE_WEIGHTS,
  denseWeights,
  noStockModules,
  plainPrompts,
  promptFiles,
  stockFiles,
  stockModules,
} from './sentence-transformers.js';
import { tokenizerFiles, type TokenizerFiles } from './tokenizer-files.js';

export interface ExportOptions extends OnnxFilesOptions {
  readonly overwrite?: boolean;
  /** Written in the place of the merged weights: see `exportedAdapter`. */
  readonly adapter?: Adapter;
  /** Results as markdown, for the card. */
  readonly metrics?: string;
}

export interface ExportResult {
  readonly files: readonly EmbedderFile[];
  readonly probe: ProbeResult;
}

/**
 * Writes a model as a folder that other tools open: ONNX graphs with pooling and normalisation inside, merged weights or an adapter,
 * tokenizer, descriptions, card. Every ONNX file is run against the model before the folder appears; the folder is whole or absent.
 * @throws UserError where the folder exists and may not be replaced
 */
export async function exportFolder(
  model: EmbeddingModel,
  output: string,
  options: ExportOptions = {},
): Promise<ExportResult> {
  checkOnePass(model);
  await checkNewEmbedderFolder(output, options.overwrite === true);
  const runtime: RuntimeOptions = {
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(options.device === undefined ? {} : { device: options.device }),
  };
  const probe = await probeAttention(model.decoder, model.recipe.attention, {
    ...runtime,
    window: model.recipe.window,
  });
  let files: readonly EmbedderFile[] = [];
  await writeFolderAtomic(resolve(output), async (folder) => {
    const { decoder, recipe, lineage } = model;
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
    const written = await writeOnnxFiles(folder, { model, tokenizer }, options);
    ({ files } = written);
    const forTools = tokenizerFiles(recipe, tokenizer);
    const { adapter } = options;
    const stock = stockModules(model, adapter === undefined ? 'merged' : 'adapter');
    // An ONNX file with two inputs is enough for some tools.
    const plain = files.some(({ pooled }) => pooled.kind !== 'input') ? plainPrompts(recipe) : undefined;
    const described: Record<string, unknown> = {
      'config.json': modelConfig(model, forTools, written.external),
      'tokenizer_config.json': forTools.config,
      'special_tokens_map.json': forTools.specialTokens,
      ...('reason' in stock
        ? { ...noStockModules(), ...(plain === undefined ? {} : promptFiles(plain, recipe.maxTokens)) }
        : stockFiles(stock, { hiddenSize: decoder.config.hidden_size, maxTokens: recipe.maxTokens })),
    };
    await writeFileAtomic(join(folder, 'tokenizer.json'), JSON.stringify(forTools.json));
    for (const [name, content] of Object.entries(described))
      await writeFileAtomic(join(folder, name), configText(content));
    if (!('reason' in stock) && stock.dense !== undefined) {
      const weights = denseWeights(stock.dense, decoder.config.hidden_size, model.poolingParameters);
      await writeSafetensors(join(folder, DENSE_WEIGHTS), weights);
    }
    const said = configSaysBiases(decoder);
    if (adapter === undefined && said)
      await writeSafetensors(join(folder, 'model.safetensors'), baseWeights(model));
    if (adapter !== undefined) await writeAdapter(folder, adapter);
    await savePooling(folder, { recipe, size: decoder.config, parameters: model.poolingParameters });
    const base = baseName(model.base);
    await writeManifest(folder, {
      kind: 'embedder',
      recipe,
      lineage: [...lineage],
      base: { path: base },
      previous: [],
      biases: !said,
      probe,
      files: [...files],
    });
    const { metrics } = options;
    const name = basename(resolve(output));
    const card = {
      name,
      model,
      base,
      files,
      stock,
      adapter,
      dimensions: embeddingDimensions(recipe.pooling, decoder.config),
      ...(metrics === undefined ? {} : { metrics }),
    };
    await writeFileAtomic(join(folder, 'README.md'), modelCard(card));
  });
  return { files, probe };
}

/** @throws UserError where an embedding is no function of the text's tokens alone */
function checkOnePass({ recipe: { pooling } }: EmbeddingModel): void {
  if (generatedTokens(pooling) === 1) return;
  throw userError({
    what: 'a generated answer takes several passes through the decoder, and an ONNX graph is one',
    where: 'pooling.generate',
    got: String(generatedTokens(pooling)),
    expected: '1, the state that makes the first token: --generate 1',
  });
}

/**
 * Says early, before anything expensive, whether an export would refuse.
 * @throws UserError where the folder exists and may not be replaced, or was not made by an export
 */
export async function checkNewEmbedderFolder(output: string, overwrite: boolean): Promise<void> {
  if (!(await exists(output))) return;
  if (!overwrite) {
    throw userError({
      what: 'the output folder exists',
      where: output,
      hint: 'replace it: --overwrite; or choose another: --output',
    });
  }
  const names = await readdir(output).catch(() => undefined);
  const ours = names?.includes('lmvec.json') === true && names.includes('onnx');
  if (ours || names?.length === 0) return;
  throw userError({
    what: 'the output folder was not made by an export, so it is not overwritten',
    where: output,
    hint: 'choose another: --output',
  });
}

/** `config.json` as AutoModel reads it: the base model without a head, and whether it is causal. */
function modelConfig(
  { decoder, recipe }: EmbeddingModel,
  { padTokenId }: TokenizerFiles,
  external: readonly string[],
): Record<string, unknown> {
  const config: Record<string, unknown> = { ...decoder.rawConfig };
  const given = config['architectures'];
  const architecture: unknown = Array.isArray(given) ? given[0] : undefined;
  // transformers 5 reads `torch_dtype` too, 4 knows no other word.
  for (const key of ['dtype', 'quantization_config', 'auto_map']) Reflect.deleteProperty(config, key);
  Object.assign(config, {
    architectures: [
      typeof architecture === 'string'
        ? architecture.replace(/(ForCausalLM|LMHeadModel|ForMaskedLM)$/, 'Model')
        : 'LlamaModel',
    ],
    torch_dtype: 'float32',
    pad_token_id: padTokenId,
    is_causal: recipe.attention === 'causal',
  });
  // Not null: some families ask for a number. Twice, as EmbeddingGemma halves it.
  if (recipe.window === 'drop')
    for (const key of ['sliding_window', 'local_attention'])
      if (typeof config[key] === 'number') config[key] = 2 * decoder.config.max_position_embeddings;
  if (external.length > 0)
    config['transformers.js_config'] = {
      use_external_data_format: Object.fromEntries(external.map((name) => [name, 1])),
    };
  return config;
}

/** The merged weights under the names of a base model: no prefix (`model.`), no head. */
function baseWeights({ decoder }: EmbeddingModel): TensorToWrite[] {
  const { prefix } = checkpointNames(decoder.rawConfig);
  return [...decoder.weights]
    .filter(([name]) => name !== decoder.config.output.head)
    .map(([name, data]): TensorToWrite => {
      const shape = decoder.shapes.get(name);
      if (shape === undefined) throw internalError(`no shape for ${name}`);
      return {
        name: name.startsWith(prefix) ? name.slice(prefix.length) : name,
        shape,
        storedType: 'F32',
        data: () => valuesOf(data),
      };
    });
}

/** What may leave this machine of a decoder's path. */
function baseName(path: string): string {
  return basename(path) === '' ? path : basename(path);
}
