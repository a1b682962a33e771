import { join } from 'node:path';
import { z } from 'zod';
import { promptSchema, promptsSchema } from '../data/schema.js';
import type { ProbeResult } from '../models/probe.js';
import { attentionSchema, windowSchema } from '../models/schema.js';
import { previousFolders } from '../models/weights/adapter-chain.js';
import { readJsonFile } from '../models/weights/json-file.js';
import { userError } from '../shared/errors.js';
import { writeFileAtomic } from '../shared/files.js';
import { packageVersions } from '../shared/package.js';
import { poolingSchema } from './schema.js';

/** The number formats that an embedder's graph is written in. Words of ours; transformers.js calls them fp32, fp16, q8 and q4. */
export const exportFormats = ['float32', 'fp16', 'int8', 'q4'] as const;
export type ExportFormat = (typeof exportFormats)[number];

const manifestName = 'lmvec.json';

const recipeSchema = z.object({
  attention: attentionSchema,
  window: windowSchema,
  pooling: poolingSchema,
  prompt: promptSchema.exactOptional(),
  prompts: promptsSchema.exactOptional(),
  maxTokens: z.int().min(1),
});

const lineageSchema = z.array(
  z.object({ stage: z.string(), objective: z.string(), steps: z.number(), tuning: z.string() }),
);

const baseSchema = z.object({
  /** `embedded`, an absolute path, a hub id with its commit, several joined by ` + ` (a base and adapters), or, where the weights lie beside this file, only a name. */
  path: z.string().min(1),
  /** Of the weight files. */
  bytes: z.number().exactOptional(),
});
/** The decoder that a model was made of. */
export type BaseReference = Readonly<z.output<typeof baseSchema>>;

const change = z.number();
const probeSchema = z.object({
  mode: attentionSchema,
  passed: z.boolean(),
  layouts: z.array(
    z.object({
      layout: z.enum(['single', 'padded right', 'padded left', 'packed']),
      smallestChange: change,
      largestChange: change,
      largestChangeBelow: change.exactOptional(),
      largestChangeOfOthers: change,
    }),
  ),
});

const verificationSchema = z.object({
  runtime: z.string(),
  lengths: z.array(z.number()),
  /** Between unit vectors of the file and of the model. */
  largestDifference: z.number(),
  smallestCosine: z.number(),
  meanCosine: z.number().exactOptional(),
  /** Of `largestDifference`; absent where a format keeps fewer digits. */
  tolerance: z.number().exactOptional(),
  /** Products that the file computes in float32 because float16 might not hold them. */
  productsInFloat32: z.int().exactOptional(),
  /** The texts of evaluation sets, as the file and as the model embed them, and the scores (cosine Spearman) of both. */
  sets: z
    .object({
      texts: z.int(),
      smallestCosine: z.number(),
      meanCosine: z.number(),
      scores: z.array(z.object({ task: z.string(), split: z.string(), file: z.number(), model: z.number() })),
    })
    .exactOptional(),
});
/** How far a written file is from the model that it was written from. */
export type Verification = Readonly<z.output<typeof verificationSchema>>;

const fileSchema = z.object({
  path: z.string().regex(/^onnx\/model(_pool_mask)?(_fp16|_quantized|_q4)?\.onnx$/),
  format: z.enum(exportFormats).default('float32'),
  pooled: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('all') }),
    z.object({ kind: z.literal('last') }),
    z.object({ kind: z.literal('afterPrefix'), tokens: z.int().min(0) }),
    z.object({ kind: z.literal('input') }),
  ]),
  verification: verificationSchema,
});
/** An ONNX file of an embedder folder. */
export type EmbedderFile = Readonly<z.output<typeof fileSchema>>;
/**
 * Which tokens a graph pools. all: every real token; last: the last one; afterPrefix: those behind a prefix of a constant number of
 * tokens; input: those that a third input, `pool_mask`, says.
 */
export type PooledTokens = EmbedderFile['pooled'];

const manifestSchema = z.object({
  format: z.literal('lmvec 1'),
  /** adapter: adapters on a base model that lies elsewhere; weights: all weights; embedder: an exported folder. */
  kind: z.enum(['adapter', 'weights', 'embedder']),
  lmvec: z.string(),
  recipe: recipeSchema,
  lineage: lineageSchema,
  base: baseSchema,
  /** Stages whose adapters are merged before this folder's own, in their order; each lies in previous/<stage>/. They become parts of paths. */
  previous: z.array(z.string().regex(/^[A-Za-z][A-Za-z0-9_]*$/)).default([]),
  /** Whether this folder holds an adapter of its own: a stage may have trained the pooling alone. */
  ownAdapter: z.boolean().default(true),
  /** Whether the model has biases that its family does not have: of kind `adapter` they lie in biases.safetensors, of `embedder` in the graphs alone. */
  biases: z.boolean().default(false),
  probe: probeSchema.exactOptional(),
  files: z.array(fileSchema).default([]),
});
/** `lmvec.json`: what a folder of ours says about its model. */
export type Manifest = Readonly<z.output<typeof manifestSchema>>;

/** The adapter folders of a folder of kind `adapter`, in the order in which they are merged. @throws UserError where one is a link out of it */
export async function adapterFolders(folder: string, { previous, ownAdapter }: Manifest): Promise<string[]> {
  return [...(await previousFolders(folder, previous)), ...(ownAdapter ? [folder] : [])];
}

/** Reads `lmvec.json`; undefined where the folder has none. @throws UserError where it is broken. */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const where = join(folder, manifestName);
  const json = await readJsonFile(where);
  if (json === undefined) return undefined;
  const parsed = manifestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw userError({ what: 'broken description of a model', where, got: problems.join('; ') });
}

export async function writeManifest(
  folder: string,
  manifest: Omit<Manifest, 'format' | 'lmvec' | 'probe' | 'ownAdapter' | 'biases'> & {
    readonly probe?: ProbeResult;
    readonly ownAdapter?: boolean;
    readonly biases?: boolean;
  },
): Promise<void> {
  const whole = { format: 'lmvec 1', lmvec: packageVersions().lmvec, ...manifest };
  await writeFileAtomic(join(folder, manifestName), `${JSON.stringify(whole, null, 2)}\n`);
}
