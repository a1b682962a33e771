import type { Device } from '../src/compiler/device.js';
import type { ComputePrecision } from '../src/compiler/precision.js';

/** What the bench hands to ours and to the peers: one JSON file, the same for all of them. */
export interface Job {
  /** Where our side runs; PyTorch runs on CUDA where this is not the CPU. */
  readonly device?: Device;
  /** What the blocks of our side multiply in (default float32); PyTorch stays in float32. */
  readonly precision?: ComputePrecision;
  readonly name: BenchName;
  readonly kind: JobKind;
  /** The decoder: a GGUF file or a Hugging Face folder. */
  readonly model: string;
  readonly threads: number;
  readonly seed: number;
  /** Leading batches that are run and not counted. */
  readonly warmup: number;
  /** Longer texts are cut to this many tokens. */
  readonly maxTokens: number;
  readonly policy: SavePolicy;
  /** Bytes that our side may take, as `train.memory` would say. */
  readonly memory: number;
  readonly lora: { readonly rank: number; readonly alpha: number; readonly dropout: number };
  readonly attentionDropout: number;
  readonly learningRate: number;
  readonly scale: number;
  readonly maskRatio: number;
  /** Texts that go through the decoder at once: gradient caching. */
  readonly chunkTexts?: number;
  readonly batches: readonly JobBatch[];
}

export type JobKind = 'simcse' | 'mntp' | 'encode' | 'contrastive' | 'mining';

/** `fastest`: the fastest save policy that fits in the bench's memory. */
export type SavePolicy = 'fastest' | 'block inputs';

/**
 * Sentences, or token ids where the bench fixes the shape. SimCSE takes each text twice; contrastive batches hold anchors, then positives, then
 * hard negatives. Or vectors to search in.
 */
export type JobBatch =
  | { readonly texts: readonly string[] }
  | { readonly ids: readonly (readonly number[])[] }
  | { readonly search: Search };

/** The `most` best documents of the first `queries` vectors. */
export interface Search {
  /** Files of `rows` x `dimensions` float32 each. */
  readonly queryFile: string;
  readonly documentFile: string;
  readonly rows: number;
  readonly dimensions: number;
  readonly queries: number;
  readonly most: number;
}

/** What one side measured over the batches after the warm-up. */
export interface Measurement {
  readonly seconds: number;
  readonly realTokens: number;
  /** Tokens that went through the matrices, padding and blanks included. */
  readonly multipliedTokens: number;
  readonly peakRssGb: number;
}

/** `sample`: the first four embeddings of an encode run, so that the two sides can be compared. */
export interface SideReport extends Measurement {
  readonly sample?: readonly (readonly number[])[];
  /** The folder that `encode` exported, for peers that run the same file. */
  readonly exported?: string;
  /** Parameters of the decoder's block matrices. */
  readonly weights?: number;
}

export type PeerName =
  | 'eager'
  | 'checkpoint'
  | 'llm2vec'
  | 'sentence-transformers'
  | 'sentence-transformers training'
  | 'sentence-transformers checkpoint'
  | 'transformers.js'
  | 'faiss';

export type BenchName = (typeof benchNames)[number];

export const benchNames = [
  'simcse-real',
  'simcse-real-small',
  'simcse-128',
  'simcse-dense',
  'simcse-dense-small',
  'mntp',
  'encode',
  'contrastive',
  'gradcache-256',
  'gradcache-1024',
  'gradcache-4096',
  'mining',
] as const;

export interface Bench {
  readonly kind: JobKind;
  readonly policy: SavePolicy;
  /** Bytes for our side: what the bar leaves it, from the peer's peak as it was measured, or the default of `train.memory`. */
  readonly memory: number;
  /** The best of these, by real tokens per second, is the peer. */
  readonly peers: readonly PeerName[];
  readonly work: 'corpus' | 'dense' | 'chunks' | 'sts' | 'triples' | 'vectors';
  /** Texts a batch, before SimCSE doubles them; triples of contrastive batches; vectors of a search. */
  readonly batchTexts: number;
  readonly chunkTexts?: number;
  readonly maxTokens: number;
  readonly bar: { readonly ratio?: number; readonly gemmShare?: number; readonly rss?: string };
}

const simcse = { kind: 'simcse', maxTokens: 128 } as const;
const contrastive = {
  kind: 'contrastive',
  policy: 'fastest',
  memory: 2.4e9,
  work: 'triples',
  maxTokens: 128,
} as const;
/** One save policy at every size, so that their peaks can be compared. */
const gradCache = { ...contrastive, policy: 'block inputs', chunkTexts: 64 } as const;

export const benches: Readonly<Record<BenchName, Bench>> = {
  'simcse-real': {
    ...simcse,
    policy: 'fastest',
    memory: 1.95e9,
    peers: ['eager', 'checkpoint'],
    work: 'corpus',
    batchTexts: 32,
    bar: { ratio: 2.5, rss: "at most 1/3 of the peer's" },
  },
  'simcse-real-small': {
    ...simcse,
    policy: 'block inputs',
    memory: 1.5e9,
    // The bar is against eager; checkpointing stands in where eager does not fit the machine.
    peers: ['eager', 'checkpoint'],
    work: 'corpus',
    batchTexts: 32,
    bar: { ratio: 1.6, rss: "at most 1/5 of the peer's" },
  },
  'simcse-128': {
    ...simcse,
    policy: 'fastest',
    memory: 3e9,
    peers: ['eager'],
    work: 'corpus',
    batchTexts: 128,
    bar: { rss: 'at most 3 GB' },
  },
  'simcse-dense': {
    ...simcse,
    policy: 'fastest',
    memory: 4.1e9,
    peers: ['eager'],
    work: 'dense',
    batchTexts: 32,
    maxTokens: 32,
    bar: { ratio: 1, gemmShare: 0.75, rss: "at most 1/2 of the peer's" },
  },
  'simcse-dense-small': {
    ...simcse,
    policy: 'block inputs',
    memory: 1.7e9,
    peers: ['checkpoint'],
    work: 'dense',
    batchTexts: 32,
    maxTokens: 32,
    bar: { ratio: 1.3, rss: "at most 1/2 of the peer's" },
  },
  mntp: {
    kind: 'mntp',
    policy: 'fastest',
    memory: 4e9,
    peers: ['llm2vec'],
    work: 'chunks',
    batchTexts: 8,
    maxTokens: 128,
    bar: { ratio: 1.8 },
  },
  encode: {
    kind: 'encode',
    policy: 'fastest',
    memory: 4e9,
    peers: ['sentence-transformers', 'transformers.js'],
    work: 'sts',
    batchTexts: 460,
    maxTokens: 128,
    bar: { ratio: 1.3 },
  },
  contrastive: {
    ...contrastive,
    // As for simcse-real-small: where eager does not fit the machine, checkpointing is what a user would turn on.
    peers: ['sentence-transformers training', 'sentence-transformers checkpoint'],
    batchTexts: 64,
    bar: { ratio: 2, rss: "at most 1/3 of the peer's" },
  },
  'gradcache-256': {
    ...gradCache,
    peers: ['sentence-transformers training'],
    batchTexts: 256,
    bar: { ratio: 2, rss: 'that of gradcache-4096' },
  },
  'gradcache-1024': {
    ...gradCache,
    peers: ['sentence-transformers training'],
    batchTexts: 1024,
    bar: { ratio: 2 },
  },
  'gradcache-4096': { ...gradCache, peers: [], batchTexts: 4096, bar: { rss: 'that of gradcache-256' } },
  mining: {
    kind: 'mining',
    policy: 'fastest',
    memory: 4e9,
    peers: ['faiss'],
    work: 'vectors',
    batchTexts: 100_000,
    maxTokens: 128,
    bar: { gemmShare: 0.7 },
  },
};
