import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { exampleSetSchema } from '../../src/data/example-schema.js';
import { readExamples } from '../../src/data/read-examples.js';
import { Embedder } from '../../src/embedder/embedder.js';
import { ForeignOnnxEmbedder } from '../../src/embedder/foreign-onnx.js';
import { rangesFile, readRanges } from '../../src/embedder/quantise.js';
import { loadTasks } from '../../src/evaluation/sts.js';
import { initialiseDecoder } from '../../src/models/initialise.js';
import { word2vecShapeSchema } from '../../src/models/initialise-word2vec.js';
import { writeDecoder } from '../../src/models/write-decoder.js';
import { loadEmbeddingModel } from '../../src/pooling/load-model.js';
import { findMethod } from '../../src/pooling/methods.js';
import { exportEmbedder } from '../../src/recipes/export.js';
import { keptRows } from '../../src/recipes/run-evaluation.js';
import { runPaths } from '../../src/recipes/run-folder.js';
import { newRunRecord, readRunRecord } from '../../src/recipes/run-record.js';
import { readMetrics } from '../../src/recipes/metrics.js';
import { downloadModel } from '../../src/shared/hub/model.js';
import { packageFolder } from '../../src/shared/package.js';
import { readZip, unpackEntry } from '../../src/shared/zip.js';
import { readCheckpoint, writeCheckpoint } from '../../src/training/checkpoint.js';
import { archive } from './archive.js';
import type { FuzzedFormat } from './formats.js';
import type { Parts } from './mutate.js';
import { writeParts } from './parts.js';

const golden = (...parts: readonly string[]): string => join(packageFolder, 'test/golden', ...parts);
const sha = '0123456789abcdef0123456789abcdef01234567';
const sentences = ['the cat sat on a mat', 'a'];

async function partsOf(folder: string, choose: (name: string) => boolean = () => true): Promise<Parts> {
  const parts: Record<string, Uint8Array> = {};
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const name = relative(folder, join(entry.parentPath, entry.name));
    if (entry.isFile() && choose(name)) parts[name] = await readFile(join(folder, name));
  }
  return parts;
}

/** What `make` writes into a folder, made once. */
function made(make: (folder: string) => Promise<unknown>): () => Promise<Parts> {
  let whole: Promise<Parts> | undefined;
  const first = async (): Promise<Parts> => {
    const folder = await mkdtemp(join(tmpdir(), 'lmvec-fuzz-made-'));
    try {
      await make(folder);
      return await partsOf(folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };
  return () => (whole ??= first());
}

const isModelFile = (name: string): boolean =>
  /^(config|tokenizer|tokenizer_config)\.json$|^model\.safetensors$/.test(name);

const word2vec = made(async (folder) => {
  const shape = word2vecShapeSchema.parse({ family: 'word2vec', hidden_size: 4, minimumCount: 1 });
  const texts = ['the cat sat on a mat', 'a dog sat on the cat'];
  await writeDecoder(initialiseDecoder({ shape, seed: 1, texts }), folder, 'F32');
});

const exported = made(async (folder) => {
  const output = join(folder, 'x');
  await exportEmbedder({ model: golden('llama/base'), output, threads: 1 });
});

/** A folder of ours, without the part of the name that it was made under. */
async function exportedParts(choose: (name: string) => boolean): Promise<Parts> {
  const entries = Object.entries(await exported()).map(([name, bytes]) => [name.slice(2), bytes] as const);
  return Object.fromEntries(entries.filter(([name]) => choose(name)));
}

const run = made(async (folder) => {
  const tensors = new Map([['w', Float32Array.of(1, 2, 3)]]);
  const state = { parameters: tensors, optimizer: { step: 2, m: tensors, v: tensors } };
  const best = { stage: 'a', step: 1, score: 0.5 };
  await writeCheckpoint(join(folder, 'checkpoints'), { stage: 'a', step: 2, seed: 1, best, state });
});

const runTexts = (): Parts => {
  const input = { path: 'x', bytes: 1, sha256: '00' };
  const record = newRunRecord({ seed: 1, inputs: [input], texts: { kept: 1, decontaminated: 0 } });
  const numbers = { cosine: 0.5, dot: 0.5, euclidean: 0.5, manhattan: 0.5 };
  const result = {
    ...{ task: 'x', split: 'dev', protocol: 'file', file: 'x.tsv', sha256: '00', everyNthRow: 1, pairs: 2 },
    ...{ mainScore: 0.5, spearman: numbers, pearson: numbers, subsets: [], seconds: 1 },
    scored: { name: 'x', gold: [1, 2], similarity: [0.1, null] },
  };
  const metrics =
    '{"kind": "step", "stage": "a", "step": 1, "loss": 2}\n{"kind": "evaluation", "stage": "a", "step": 2}\n';
  return {
    'run.json': Buffer.from(JSON.stringify(record)),
    'metrics.jsonl': Buffer.from(metrics),
    'results/before.json': Buffer.from(JSON.stringify([result])),
  };
};

const pairs = 'score\tsentence1\tsentence2\n1.5\tA cat.\tA dog\n0\tx y\té 日本\n5\ta\tb\n';
const mined =
  '{"query": "q", "positive": "p", "negatives": ["a", "b"], "scores": [0.5, 0.1]}\n{"query": "é", "positive": "x", "negatives": [], "scores": []}\n';
const method =
  'attention: bidirectional\npooling: { type: mean, layer: -1 }\nprompt: { frame: "Query: {text}", pool: text }\n';

/** The repository's two answers, and what is asked for in its name. */
let hub: Promise<{ readonly server: Server; readonly endpoint: string }> | undefined;
let answers: Parts = {};
function startHub(): NonNullable<typeof hub> {
  return (hub ??= new Promise((resolve) => {
    const server = createServer((request, response) => {
      const name = request.url?.includes('/revision/') === true ? 'model.json' : 'tree.json';
      if (request.url?.includes('/resolve/') === true) response.end('{}');
      else {
        response.writeHead(200, { 'content-type': 'application/json', connection: 'close' });
        response.end(answers[name]);
      }
    });
    server.listen(0, '127.0.0.1', () => {
      server.unref();
      resolve({ server, endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
    });
  }));
}

/** What else is read that strangers make: whole model folders, answers of the hub, what runs and other tools leave. */
export const fuzzedDoors: Readonly<Record<string, FuzzedFormat>> = {
  families: {
    originals: async () => {
      const folders: string[] = [];
      for (const group of ['families', 'mixtures'])
        for (const entry of await readdir(golden(group), { withFileTypes: true }))
          if (entry.isDirectory()) folders.push(golden(group, entry.name));
      return Promise.all([...folders.sort().map((folder) => partsOf(folder, isModelFile)), word2vec()]);
    },
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      await loadEmbeddingModel(folder);
    },
  },
  modules: {
    originals: () =>
      Promise.all(
        ['bert', 'qwen3'].map((name) =>
          partsOf(golden('released', name), (file) => file.endsWith('.json') && file !== 'golden.json'),
        ),
      ),
    read: async (folder, parts) => {
      // The weights of the two are told apart by what the configuration says.
      const name =
        'config.json' in parts && String(parts['config.json']).includes('qwen3') ? 'qwen3' : 'bert';
      const weights = await partsOf(golden('released', name), (file) => file.endsWith('.safetensors'));
      await writeParts(folder, { ...weights, ...parts });
      await loadEmbeddingModel(folder);
    },
  },
  embedder: {
    originals: async () => [await exportedParts((name) => name.endsWith('.json'))],
    read: async (folder, parts) => {
      await writeParts(folder, { ...(await exportedParts((name) => !name.endsWith('.json'))), ...parts });
      const embedder = await Embedder.open(folder, { threads: 1 });
      await embedder.encode(sentences).finally(() => embedder.dispose());
    },
  },
  'foreign embedder': {
    originals: async () => [
      await exportedParts((name) => name.endsWith('.json') && !/^(lmvec|config)\.json$/.test(name)),
    ],
    read: async (folder, parts) => {
      await writeParts(folder, { ...(await exportedParts((name) => name.startsWith('onnx/'))), ...parts });
      const embedder = await ForeignOnnxEmbedder.open(folder, { threads: 1 });
      await embedder.encode(sentences).finally(() => embedder.dispose());
    },
  },
  onnx: {
    originals: async () => [await exportedParts((name) => name.startsWith('onnx/'))],
    read: async (folder, parts) => {
      await writeParts(folder, { ...(await exportedParts((name) => !name.startsWith('onnx/'))), ...parts });
      const embedder = await Embedder.open(folder, { threads: 1 });
      await embedder.encode(sentences).finally(() => embedder.dispose());
    },
  },
  run: {
    originals: async () => [{ ...runTexts(), ...(await run()) }],
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      const paths = runPaths(folder);
      await readRunRecord(paths.record);
      await readMetrics(paths.metrics);
      await keptRows(paths);
      await readCheckpoint(join(paths.checkpoints, 'a-step-000002'));
    },
  },
  examples: {
    originals: () =>
      Promise.resolve([
        { 'x.jsonl': Buffer.from(mined), 'x.tsv': Buffer.from(pairs), 'x.yaml': Buffer.from(method) },
      ]),
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      const set = exampleSetSchema.parse({ kind: 'tuples', path: join(folder, 'x.jsonl') });
      await readExamples(set, { name: 'x', seed: 1 });
      const tasks = [join(folder, 'x.tsv')];
      await loadTasks({ tasks, folder: 'embedded', split: 'dev', protocol: 'mteb' });
      await findMethod(join(folder, 'x.yaml'));
    },
  },
  ranges: {
    originals: () => {
      const [least, greatest] = [Float32Array.of(-1, -2, 0), Float32Array.of(1, 2, 0)];
      return Promise.resolve([{ 'x.npy': rangesFile({ least, greatest }) }]);
    },
    read: (_, parts) => {
      readRanges(Buffer.from(parts['x.npy'] ?? []), 'x.npy');
      return Promise.resolve();
    },
  },
  zip: {
    originals: () => {
      const content = Buffer.from('a wheel is a zip archive. '.repeat(50));
      return Promise.resolve(
        [false, true].map((stored) => ({ 'x.whl': archive('a/b.so', content, { stored }) })),
      );
    },
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      const path = join(folder, 'x.whl');
      for (const entry of await readZip(path)) await unpackEntry(path, entry, join(folder, 'out'));
    },
  },
  hub: {
    originals: () => {
      const file = { type: 'file', size: 2, oid: '9e26dfeeb6e641a33dae4961196235bdb965b21b' };
      const lfs = { oid: '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a', size: 2 };
      const tree = [
        { type: 'directory', path: '1_Pooling', size: 0, oid: sha },
        { ...file, path: 'config.json' },
        { ...file, path: '1_Pooling/config.json' },
        { ...file, path: 'model.safetensors', lfs: { ...lfs, pointerSize: 130 } },
      ];
      const model = {
        ...{ id: 'org/name', _id: 'x', sha, private: false, downloads: 1, likes: 0, gated: false },
        lastModified: '2026-01-01T00:00:00.000Z',
      };
      return Promise.resolve([
        { 'model.json': Buffer.from(JSON.stringify(model)), 'tree.json': Buffer.from(JSON.stringify(tree)) },
      ]);
    },
    read: async (folder, parts) => {
      const { endpoint } = await startHub();
      answers = parts;
      const cache = join(folder, 'hub');
      await rm(cache, { recursive: true, force: true });
      await downloadModel(
        { type: 'model', name: 'org/name' },
        {
          ...{ endpoint, cache, offline: false, retryMilliseconds: 1, stallMilliseconds: 2000 },
          say: () => undefined,
        },
      );
    },
  },
};
