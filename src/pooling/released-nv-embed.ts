import { join } from 'node:path';
import { readJsonFile } from '../models/weights/json-file.js';
import { isJsonObject, type JsonObject } from '../models/weights/types.js';
import { shown, userError } from '../shared/errors.js';
import type { EmbeddingRecipe } from './embedding-model.js';
import { mostTokens } from './released-modules.js';
import { poolingSchema } from './schema.js';

/**
 * How a folder of NV-Embed's release embeds, by its config.json and modeling_nvembed.py: in both directions, without the sliding window that
 * Mistral's config names; latent attention and the mean; an end token behind every text. Its modules.json says only the mean, as there the
 * model itself holds the latent attention. Undefined for other folders.
 * @throws UserError where its numbers cannot be
 */
export async function releasedNvEmbed(folder: string): Promise<EmbeddingRecipe | undefined> {
  const where = join(folder, 'config.json');
  const config = await readJsonFile(where);
  if (config?.['model_type'] !== 'nvembed') return undefined;
  const latent = config['latent_attention_config'];
  const pooling = poolingSchema.safeParse({
    type: 'latentAttention',
    ...sizesOf(isJsonObject(latent) ? latent : {}),
  });
  if (!pooling.success)
    throw userError({ what: 'this latent attention is not supported', where, got: shown(latent) });
  return {
    attention: 'bidirectional',
    window: 'drop',
    pooling: pooling.data,
    // Instructions are left out of the mean: the preset nv-embed.
    ...(config['add_eos'] === false ? {} : { prompt: { frame: '{text}{eos}', pool: 'all' } }),
    maxTokens: (await mostTokens(folder)) ?? 512,
  };
}

/** What is left out is the release's default. */
function sizesOf(latent: JsonObject): Record<string, unknown> {
  const keys = {
    latents: 'num_latents_value',
    heads: 'num_cross_heads',
    headDimension: 'cross_dim_head',
  };
  return Object.fromEntries(
    Object.entries(keys).flatMap(([ours, theirs]) =>
      latent[theirs] === undefined ? [] : [[ours, latent[theirs]]],
    ),
  );
}
