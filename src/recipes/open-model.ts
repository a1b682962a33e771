import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { chooseRuntime, type RuntimeChoice } from '../compiler/runtime.js';
import { Embedder } from '../embedder/embedder.js';
import type { Encode } from '../evaluation/encoder.js';
import type { ModelMeta } from '../evaluation/mteb.js';
import type { DecoderConfig } from '../models/decoder-config.js';
import { withBiasesConfig } from '../models/added-biases.js';
import { parseDecoderConfig } from '../models/families/index.js';
import { probeAttention, type ProbeResult } from '../models/probe.js';
import { piecesOf } from '../models/resident.js';
import type { AttentionMode, ResidentPrecision, WindowMode } from '../models/schema.js';
import { weightShapes } from '../models/weight-shapes.js';
import { localModel } from '../models/weights/index.js';
import { readJsonFile } from '../models/weights/json-file.js';
import { promptParts } from '../pooling/embedding-model.js';
import type { RecipeOverrides } from '../pooling/load-model.js';
import type { ExportFormat } from '../pooling/manifest.js';
import { embeddingDimensions } from '../pooling/registry.js';
import type { LayerChoice, PoolingConfig } from '../pooling/schema.js';
import { internalError } from '../shared/errors.js';

/**
 * Any model that embeds: a run's best/ or last/, an exported embedder folder, or a decoder (folder or GGUF) with nothing trained.
 * What is left out is the model's own; a decoder's own is causal, mean of the last layer, no prompt.
 */
export interface ModelOptions extends RuntimeChoice {
  readonly model: string;
  /** A method's name (`lmvec methods`), or a YAML file with one. What is given beside it goes before it. */
  readonly method?: string;
  readonly attention?: AttentionMode;
  readonly window?: WindowMode;
  readonly pooling?: PoolingConfig['type'];
  readonly layer?: LayerChoice;
  /** Weight of the routing's cosine (MoEE's sum). */
  readonly alpha?: number;
  /** A preset's name or a frame with `{text}` in it. */
  readonly prompt?: string;
  /** The instruction in the place of the prompt's `{task}`. */
  readonly task?: string;
  /** Tokens of the decoder's own answer whose hidden states are averaged (InBedder). */
  readonly generate?: number;
  readonly maxTokens?: number;
  /** How frozen weights lie in memory (default float32). */
  readonly residentPrecision?: ResidentPrecision;
  /** Which of an exported folder's graphs (default: float32 where it is there). */
  readonly dtype?: ExportFormat;
}

export interface OpenModel {
  /** Rows are unit vectors. */
  readonly encode: Encode;
  /** Names of the model's prompts that an evaluation picks from by its tasks' names: none where the caller asks for a prompt. */
  readonly taskPrompts: readonly string[];
  readonly dimensions: number;
  /** For result files. */
  readonly meta: ModelMeta;
  /** What `inspect` prints: parameters, lineage, attention mode, pooling, prompt, probe result. */
  readonly description: Readonly<Record<string, unknown>>;
  close(): Promise<void>;
}

/**
 * Opens a model and probes its attention (an exported graph was probed and verified when it was written).
 * @throws UserError where the model cannot be read or an option does not fit it
 */
export async function openModel(
  options: ModelOptions & {
    /** Whether the attention is probed (default true). */
    readonly probe?: boolean;
  },
): Promise<OpenModel> {
  const { model: given, probe: probing = true } = options;
  const path = await localModel(given);
  const runtime = await chooseRuntime(options);
  const embedder = await openEmbedder({ ...options, ...runtime, model: path });
  try {
    const { recipe, model, manifest } = embedder;
    const probe =
      model === undefined || !probing
        ? manifest?.probe
        : await probeAttention(model.decoder, recipe.attention, {
            ...runtime,
            window: recipe.window,
          });
    const facts = model === undefined ? await factsOfFolder(path, manifest?.biases === true) : factsOf(model);
    // A hub model keeps its name; in the cache its folder is named after its commit.
    const name = path === given ? basename(resolve(path)) : given.replace(/^hf:\/\//, '');
    const { frame, pool } = promptParts(recipe);
    const dimensions = embeddingDimensions(recipe.pooling, facts.config);
    const { computePrecision } = runtime;
    const recipeFacts = {
      attention: recipe.attention,
      window: recipe.window,
      pooling: recipe.pooling,
      prompt: frame?.template ?? 'none',
      ...(recipe.prompts === undefined ? {} : { prompts: recipe.prompts }),
      pooledTokens: pool,
      maxTokens: recipe.maxTokens,
      ...(computePrecision === undefined ? {} : { computePrecision }),
    };
    return {
      encode: (texts, promptName) => embedder.encode(texts, promptName === undefined ? {} : { promptName }),
      taskPrompts: ownPrompt(options) ? Object.keys(recipe.prompts ?? {}) : [],
      dimensions,
      get meta() {
        return {
          name,
          // No result of halves is taken for one of float32.
          revision: `${revisionOf(embedder, path)}${computePrecision === undefined ? '' : `-${computePrecision}`}`,
          parameters: facts.parameters,
          embeddingDimensions: dimensions,
          maxTokens: recipe.maxTokens,
          lmvec: { ...recipeFacts, lineage: manifest?.lineage ?? [] },
        };
      },
      description: {
        model: given,
        kind: kindOf(embedder),
        base: manifest?.base.path ?? path,
        parameters: facts.parameters,
        layers: facts.config.num_hidden_layers,
        dimensions,
        vocabulary: facts.config.vocab_size,
        ...recipeFacts,
        lineage: manifest?.lineage ?? [],
        probe: probe === undefined ? 'not made' : probeFacts(probe),
        ...(manifest === undefined || manifest.files.length === 0 ? {} : { files: manifest.files }),
      },
      close: () => embedder.dispose(),
    };
  } catch (error) {
    await embedder.dispose();
    throw error;
  }
}

/** The embedder of a model. @throws UserError where the model cannot be read or an option does not fit it */
export function openEmbedder(options: ModelOptions): Promise<Embedder> {
  const { model, threads, device, residentPrecision, dtype } = options;
  return Embedder.open(model, {
    ...recipeOverrides(options),
    ...(threads === undefined ? {} : { threads }),
    ...(device === undefined ? {} : { device }),
    ...(residentPrecision === undefined ? {} : { residentPrecision }),
    ...(dtype === undefined ? {} : { dtype }),
  });
}

/** Whether nothing is said of the prompt, so that it is the model's own. */
function ownPrompt({ prompt, task, method }: ModelOptions): boolean {
  return prompt === undefined && task === undefined && method === undefined;
}

interface Facts {
  readonly parameters: number;
  readonly config: DecoderConfig;
}

function factsOf({ decoder, poolingParameters }: NonNullable<Embedder['model']>): Facts {
  let parameters = 0;
  for (const data of [...decoder.weights.values(), ...poolingParameters.values()]) parameters += data.length;
  return { parameters, config: decoder.config };
}

/** Of an exported folder, from its description: its weights may be an adapter. */
async function factsOfFolder(path: string, biases: boolean): Promise<Facts> {
  const where = join(path, 'config.json');
  const described = parseDecoderConfig((await readJsonFile(where)) ?? {}, where);
  const config = biases ? withBiasesConfig(described) : described;
  let parameters = 0;
  // A base model's folder has no head.
  for (const [name, shape] of weightShapes(config))
    if (name !== config.output.head) parameters += shape.reduce((product, size) => product * size, 1);
  return { parameters, config };
}

function kindOf({ manifest, model }: Embedder): string {
  if (manifest === undefined) return 'decoder, nothing trained';
  switch (manifest.kind) {
    case 'adapter':
      return manifest.biases ? 'trained adapters and biases, merged' : 'trained adapters, merged';
    case 'weights':
      return 'trained weights';
    case 'embedder':
      return model === undefined ? 'exported embedder' : 'exported embedder, its weights with another recipe';
  }
}

function probeFacts({ passed, mode, layouts }: ProbeResult): Record<string, unknown> {
  return {
    passed,
    mode,
    layouts: layouts.map(({ layout, smallestChange, largestChange }) => ({
      layout,
      smallestChange,
      largestChange,
    })),
  };
}

/** Names this state of the model: a hash of its recipe and weights, or of its graph. */
export function revisionOf({ recipe, model, file }: Embedder, path: string): string {
  const hash = createHash('sha256').update(JSON.stringify(recipe));
  if (model === undefined) {
    if (file === undefined) throw internalError('an exported folder without a file');
    hashFile(join(path, file.path), (bytes) => hash.update(bytes));
  } else {
    // The same however they lie in memory.
    for (const weight of [...model.decoder.weights.values(), ...model.poolingParameters.values()])
      for (const { buffer, byteOffset, byteLength } of piecesOf(weight))
        hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('hex').slice(0, 40);
}

function hashFile(path: string, use: (bytes: Uint8Array) => void): void {
  const file = openSync(path, 'r');
  try {
    const block = Buffer.alloc(1 << 22);
    for (;;) {
      const count = readSync(file, block);
      if (count === 0) return;
      use(block.subarray(0, count));
    }
  } finally {
    closeSync(file);
  }
}

/** The options that change a recipe, and nothing else that a caller's options may hold. */
export function recipeOverrides({
  method,
  attention,
  window,
  pooling,
  layer,
  alpha,
  prompt,
  task,
  generate,
  maxTokens,
}: ModelOptions): RecipeOverrides {
  return {
    ...(method === undefined ? {} : { method }),
    ...(attention === undefined ? {} : { attention }),
    ...(window === undefined ? {} : { window }),
    ...(pooling === undefined ? {} : { pooling }),
    ...(layer === undefined ? {} : { layer }),
    ...(alpha === undefined ? {} : { alpha }),
    ...(prompt === undefined ? {} : { prompt }),
    ...(task === undefined ? {} : { task }),
    ...(generate === undefined ? {} : { generate }),
    ...(maxTokens === undefined ? {} : { maxTokens }),
  };
}
