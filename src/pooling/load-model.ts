import { join } from 'node:path';
import { parsePrompt } from '../data/prompt-frame.js';
import { isPromptPreset, type PromptPreset } from '../data/prompt-presets.js';
import type { PromptConfig } from '../data/schema.js';
import { checkTokenizerFits, createTokenizer } from '../data/tokenizer.js';
import { withAddedBiases } from '../models/added-biases.js';
import { loadDecoder, type Decoder } from '../models/decoder.js';
import { positionLimit, type DecoderConfig } from '../models/decoder-config.js';
import { checkpointNames } from '../models/families/index.js';
import { matrixLayout } from '../models/lora.js';
import { mergeAdapter } from '../models/merge-adapter.js';
import type { AttentionMode, ResidentPrecision, WindowMode } from '../models/schema.js';
import { localModel, openDecoder, openSafetensors, readAdapter } from '../models/weights/index.js';
import { refuseLinksOut } from '../models/weights/links.js';
import { userError } from '../shared/errors.js';
import { exists, statOrUserError } from '../shared/files.js';
import { assetPath } from '../shared/package.js';
import { withPrompt, type EmbeddingModel, type EmbeddingRecipe } from './embedding-model.js';
import { chosenLayers } from './layers.js';
import { adapterFolders, readManifest, type Manifest } from './manifest.js';
import { findMethod, withMethod } from './methods.js';
import { generatedTokens } from './registry.js';
import { endOfTemplate, readReleasedModules } from './released-modules.js';
import { releasedNvEmbed } from './released-nv-embed.js';
import { poolingSchema, type LayerChoice, type PoolingConfig, type RoutingConfig } from './schema.js';
import { BIASES, weightBytes } from './trained-folder.js';
import { poolingParametersOf, withTrainedTokens } from './trained-parameters.js';

/** Parts of a recipe that the user wants otherwise than the model's own. */
export interface RecipeOverrides {
  /** A method's name, or a YAML file: a whole way to embed, before the parts below. */
  readonly method?: string;
  readonly attention?: AttentionMode;
  readonly window?: WindowMode;
  readonly pooling?: PoolingConfig['type'];
  readonly layer?: LayerChoice;
  /** Weight of the routing's cosine beside that of the hidden state (MoEE's sum). */
  readonly alpha?: number;
  readonly prompt?: PromptConfig;
  /** The instruction in the place of the prompt's `{task}`. */
  readonly task?: string;
  readonly maxTokens?: number;
  /** Tokens of the decoder's own answer whose hidden states are averaged (InBedder). */
  readonly generate?: number;
}

/** How a model is opened, beside its recipe. */
export interface LoadOptions {
  /** How its frozen weights lie in memory (default float32). */
  readonly residentPrecision?: ResidentPrecision;
}

/** Longest text of a decoder that was never trained to embed. */
const DEFAULT_MAX_TOKENS = 512;

/**
 * Opens anything that embeds: `embedded`, a decoder (folder or GGUF), a run's best/ or last/, an exported embedder folder, a folder of
 * sentence-transformers. A bare decoder is causal with mean pooling of its last layer, unless a preset prompt brings its own.
 * @throws UserError where the model cannot be read or an override does not fit it
 */
export async function loadEmbeddingModel(
  model: string,
  overrides: RecipeOverrides = {},
  options: LoadOptions = {},
): Promise<EmbeddingModel & { readonly manifest?: Manifest }> {
  const path = await localModel(model);
  const manifest = await manifestOf(path);
  const bare = await decoderOf(path, manifest, options);
  const tokenizer = createTokenizer(bare.tokenizer.json, bare.tokenizer.config, path);
  checkTokenizerFits(tokenizer, bare.config.vocab_size, path);
  const own = manifest?.recipe ?? (await releasedRecipe(path, bare, overrides));
  const { method } = overrides;
  const recipe = overridden(
    method === undefined ? own : withMethod(own, await findMethod(method)),
    overrides,
  );
  chosenLayers(recipe.pooling, bare.config.num_hidden_layers);
  const decoder = await withTrainedTokens(path, recipe, bare);
  checkAttention(recipe.attention, decoder.config);
  if (recipe.prompt !== undefined) parsePrompt(recipe.prompt);
  checkMaxTokens(recipe.maxTokens + generatedTokens(recipe.pooling) - 1, decoder);
  checkGeneration(recipe);
  return {
    decoder,
    recipe,
    poolingParameters: await poolingParametersOf(path, recipe, decoder),
    base: manifest?.base.path ?? path,
    lineage: manifest?.lineage ?? [],
    ...(manifest === undefined ? {} : { manifest }),
  };
}

async function manifestOf(path: string): Promise<Manifest | undefined> {
  // `base + adapter` is a decoder, and no folder of ours.
  if (path === 'embedded' || !(await exists(path))) return undefined;
  const stats = await statOrUserError(path, 'model');
  return stats.isDirectory() ? readManifest(path) : undefined;
}

async function decoderOf(
  path: string,
  manifest: Manifest | undefined,
  options: LoadOptions,
): Promise<Decoder> {
  if (manifest?.kind !== 'adapter') return readDecoder(path, options);
  const { base } = manifest;
  await refuseLinksOut(path);
  await localModel(base.path).catch((error: unknown) => {
    const got = error instanceof Error ? error.message : String(error);
    throw userError({ what: 'the base model of the adapter is not found', where: path, got });
  });
  if (base.bytes !== undefined && base.bytes !== (await weightBytes(base.path))) {
    throw userError({
      what: 'the base model is not the one that the adapter was trained on',
      where: base.path,
      got: `${await weightBytes(base.path)} bytes of weights`,
      expected: String(base.bytes),
    });
  }
  const decoder = await readDecoder(base.path, options);
  for (const folder of await adapterFolders(path, manifest)) {
    const layout = matrixLayout(decoder.config);
    const { tensors, rank, alpha } = await readAdapter(folder, {
      names: checkpointNames(decoder.rawConfig),
      layout,
    });
    mergeAdapter(decoder.weights, tensors, { rank, alpha, where: folder, layout });
  }
  return manifest.biases ? withBiasesOf(path, decoder) : decoder;
}

/** The decoder with the biases that BitFit trained. */
async function withBiasesOf(path: string, decoder: Decoder): Promise<Decoder> {
  const where = join(path, BIASES);
  const store = await openSafetensors(where);
  try {
    const values = new Map<string, Float32Array>();
    for (const name of store.names) values.set(name, await store.read(name));
    return withAddedBiases(decoder, { values, where });
  } finally {
    await store.close();
  }
}

async function readDecoder(path: string, options: LoadOptions): Promise<Decoder> {
  const source = await openDecoder(path === 'embedded' ? assetPath('tiny') : path);
  try {
    return await loadDecoder(source, options);
  } finally {
    await source.weights.close();
  }
}

/** A bare decoder's recipe, with what modules.json says where there is one and the user does not say it. */
async function releasedRecipe(
  path: string,
  decoder: Decoder,
  { method, pooling, prompt }: RecipeOverrides,
): Promise<EmbeddingRecipe> {
  const bare = bareRecipe(decoder, prompt);
  const latent =
    method === undefined && (pooling ?? 'latentAttention') === 'latentAttention' && path !== 'embedded'
      ? await releasedNvEmbed(path)
      : undefined;
  if (latent !== undefined)
    return { ...latent, maxTokens: Math.min(latent.maxTokens, decoder.config.max_position_embeddings) };
  const replaced = method !== undefined || pooling !== undefined || presetOf(prompt) !== undefined;
  if (replaced || path === 'embedded' || !(await exists(join(path, 'modules.json')))) return bare;
  const end = decoder.config.encoder === true ? '' : endOfTemplate(decoder.tokenizer.json);
  const released = await readReleasedModules(path, end);
  const { is_causal: causal, use_bidirectional_attention: both } = decoder.rawConfig;
  const maxTokens = Math.min(released?.maxTokens ?? bare.maxTokens, decoder.config.max_position_embeddings);
  return {
    ...bare,
    ...(causal === false || both === true ? { attention: 'bidirectional' } : {}),
    ...released,
    maxTokens,
  };
}

/** The preset that a prompt names; another name may be one of the model's own prompts. */
function presetOf(prompt: PromptConfig | undefined): PromptPreset | undefined {
  const frame = typeof prompt === 'object' ? prompt.frame : prompt;
  return prompt !== undefined && isPromptPreset(frame ?? '') ? parsePrompt(prompt).preset : undefined;
}

function bareRecipe(decoder: Decoder, prompt: PromptConfig | undefined): EmbeddingRecipe {
  const preset = presetOf(prompt);
  return {
    attention: decoder.config.encoder === true ? 'bidirectional' : 'causal',
    window: 'keep',
    pooling: { type: preset?.pooling ?? 'mean', layer: preset?.layer ?? -1 },
    maxTokens: Math.min(DEFAULT_MAX_TOKENS, decoder.config.max_position_embeddings),
  };
}

function overridden(own: EmbeddingRecipe, overrides: RecipeOverrides): EmbeddingRecipe {
  const { pooling: type = own.pooling.type, layer = own.pooling.layer } = overrides;
  const { attention = own.attention, window = own.window, maxTokens = own.maxTokens } = overrides;
  const routing = routingWith(own.pooling, overrides.alpha);
  const pooling = poolingWith(
    {
      ...(type === own.pooling.type ? own.pooling : { type }),
      ...(routing === undefined ? {} : { routing }),
      ...(overrides.generate === undefined ? {} : generateWith(type, overrides.generate)),
    },
    layer,
  );
  const prompt = promptOf(withPrompt(own, overrides.prompt).prompt, { task: overrides.task });
  const { prompts } = own;
  return {
    attention,
    window,
    pooling,
    ...(prompt === undefined ? {} : { prompt }),
    ...(prompts === undefined ? {} : { prompts }),
    maxTokens,
  };
}

/** @throws UserError where something else than a last token is pooled, or the number cannot be */
function generateWith(type: PoolingConfig['type'], generate: number): { readonly generate: number } {
  if (!Number.isSafeInteger(generate) || generate < 1 || generate > 512)
    throw userError({ what: 'unusable generate', got: String(generate), expected: '1 to 512 tokens' });
  if (type === 'last') return { generate };
  throw userError({
    what: 'an answer is generated behind the last token, and that is not pooled here',
    where: 'generate',
    got: `pooling ${type}`,
    hint: '--method inbedder',
  });
}

/** @throws UserError where an answer is wanted of a decoder that cannot give one */
function checkGeneration({ pooling, attention }: EmbeddingRecipe): void {
  if (generatedTokens(pooling) === 1) return;
  const routed = 'routing' in pooling && pooling.routing !== undefined;
  if (attention === 'causal' && !routed) return;
  throw userError({
    what: 'an answer is generated by a causal decoder, from hidden states alone',
    where: 'generate',
    got: routed ? 'routing of experts' : `attention ${attentionWord(attention)}`,
    expected: routed ? 'a pooling without it' : 'causal',
  });
}

function attentionWord(attention: AttentionMode): string {
  return typeof attention === 'string' ? attention : JSON.stringify(attention);
}

/** The routing of a pooling, which stays where another kind of pooling is asked for. @throws UserError where it has no use for alpha */
function routingWith(pooling: PoolingConfig, alpha: number | undefined): RoutingConfig | undefined {
  const routing = 'routing' in pooling ? pooling.routing : undefined;
  if (alpha === undefined) return routing;
  if (routing?.combine === 'sum') return { ...routing, alpha };
  throw userError({
    what: 'alpha weighs a routing that is added to a hidden state, and here is none',
    where: 'alpha',
    got: String(alpha),
    hint: '--method moee-sum',
  });
}

/** @throws UserError where the pooling has no use for the layers. */
function poolingWith(pooling: { readonly type: string }, layer: LayerChoice): PoolingConfig {
  const parsed = poolingSchema.safeParse({ ...pooling, layer });
  if (parsed.success) return parsed.data;
  throw userError({
    what: `${pooling.type} pooling cannot read these layers`,
    where: 'pooling.layer',
    got: JSON.stringify(layer),
    expected: parsed.error.issues.map(({ message }) => message).join('; '),
  });
}

/** The prompt that is asked for. @throws UserError where a task is given and the prompt has no place for it. */
export function promptOf(
  own: PromptConfig | undefined,
  { prompt = own, task }: { readonly prompt?: PromptConfig | undefined; readonly task?: string | undefined },
): PromptConfig | undefined {
  if (task === undefined) return prompt;
  if (prompt === undefined)
    throw userError({
      what: 'a task is given, and there is no prompt for it',
      where: 'task',
      got: JSON.stringify(task),
    });
  const asked = { ...(typeof prompt === 'string' ? { frame: prompt } : prompt), task };
  parsePrompt(asked);
  return asked;
}

/** @throws UserError where the longest text would have tokens without a position. */
function checkMaxTokens(maxTokens: number, { config }: Decoder): void {
  if (maxTokens <= positionLimit(config)) return;
  throw userError({
    what: `a ${config.model_type} model has learned positions, and not that many`,
    where: 'maxTokens',
    got: String(maxTokens),
    expected: `at most ${positionLimit(config)}`,
  });
}

/** @throws UserError where fewer layers are there than are to be bidirectional, and for an encoder that is to be anything else. */
export function checkAttention(
  attention: AttentionMode,
  config: Pick<DecoderConfig, 'model_type' | 'encoder' | 'num_hidden_layers'>,
): void {
  const layers = config.num_hidden_layers;
  if (config.encoder === true && attention !== 'bidirectional')
    throw userError({
      what: `a ${config.model_type} model is an encoder, which always sees both sides`,
      where: 'attention',
      got: typeof attention === 'string' ? attention : JSON.stringify(attention),
      expected: 'bidirectional',
    });
  if (typeof attention === 'string' || attention.lastLayers <= layers) return;
  throw userError({
    what: 'more last layers than the decoder has',
    where: 'attention',
    got: String(attention.lastLayers),
    expected: `at most ${layers}`,
  });
}
