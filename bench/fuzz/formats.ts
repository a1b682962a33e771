import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parseConfig } from '../../src/config/load.js';
import { readRows } from '../../src/data/rows.js';
import { checkTokenizerFits, createTokenizer } from '../../src/data/tokenizer.js';
import { loadDecoder } from '../../src/models/decoder.js';
import { openDecoder, openSafetensors, readAdapter } from '../../src/models/weights/index.js';
import { readManifest } from '../../src/pooling/manifest.js';
import { runSchema } from '../../src/recipes/schema.js';
import { packageFolder } from '../../src/shared/package.js';
import { fuzzedDoors } from './doors.js';
import type { Parts } from './mutate.js';
import { writeParts } from './parts.js';

/** A format, whole files of it, and what reads them in the product. */
export interface FuzzedFormat {
  readonly originals: () => Promise<readonly Parts[]>;
  /** Reads everything that a user's command would read. */
  readonly read: (folder: string, parts: Parts) => Promise<void>;
}

const golden = (...parts: readonly string[]): string => join(packageFolder, 'test/golden', ...parts);

async function filesOf(folder: string, names: readonly string[]): Promise<Parts> {
  const parts: Record<string, Uint8Array> = {};
  for (const name of names) parts[name] = await readFile(join(folder, name));
  return parts;
}

/** A data file of one name: all its rows. */
function table(name: string, originals: () => Promise<readonly Uint8Array[]>): FuzzedFormat {
  return {
    originals: async () => (await originals()).map((bytes) => ({ [name]: bytes })),
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      const rows = readRows(join(folder, name));
      while ((await rows.next()).done !== true);
    },
  };
}

const tsv = 'score\tsentence1\tsentence2\n1.5\tA cat.\t"A" dog\n0\tx y\té 日本\n5\ta\tb\n';
const csv = 'score,sentence1,sentence2\n1.5,"A, ""cat""\nsits",A dog\n0,x,"é 日本"\n5,a,b\n';
const jsonl =
  '{"text": "one", "negatives": ["a", "b"], "score": 1.5}\n{"text": "zwei é", "negatives": [], "score": null}\n{"text": "x", "negatives": null}\n';
const modelFiles = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'];

async function readModel(path: string): Promise<void> {
  const source = await openDecoder(path);
  try {
    const decoder = await loadDecoder(source);
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config, path);
    checkTokenizerFits(tokenizer, decoder.config.vocab_size, path);
    useTokenizer(tokenizer);
  } finally {
    await source.weights.close();
  }
}

function useTokenizer(tokenizer: ReturnType<typeof createTokenizer>): void {
  for (const text of ['A man, 123 horses', 'naïve 日本 🙂  x', '<s>[MASK]', ''])
    tokenizer.decode(tokenizer.encodeWithOffsets(text).ids);
}

function modelFolder(mutable: readonly string[], fixed: readonly string[]): FuzzedFormat {
  let whole: Promise<readonly Parts[]> | undefined;
  return {
    originals: async () =>
      await (whole ??= Promise.all(
        ['base', 'tied', 'rope-llama3'].map((name) => filesOf(golden('llama', name), mutable)),
      )),
    read: async (folder, parts) => {
      await writeParts(folder, { ...(await filesOf(golden('llama/base'), fixed)), ...parts });
      await readModel(folder);
    },
  };
}

export const fuzzedFormats: Readonly<Record<string, FuzzedFormat>> = {
  safetensors: {
    originals: async () => [
      { 'x.safetensors': await readFile(golden('llama/base/adapter/adapter_model.safetensors')) },
      { 'x.safetensors': await readFile(golden('peft/adapter/adapter_model.safetensors')) },
    ],
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      const store = await openSafetensors(join(folder, 'x.safetensors'));
      try {
        for (const name of store.names) await store.read(name);
      } finally {
        await store.close();
      }
    },
  },
  gguf: {
    originals: async () => {
      const names = (await readdir(golden('gguf'))).filter((name) => name.endsWith('.gguf')).sort();
      return Promise.all(names.map(async (name) => ({ 'x.gguf': await readFile(golden('gguf', name)) })));
    },
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      await readModel(join(folder, 'x.gguf'));
    },
  },
  'tokenizer.json': {
    originals: async () => {
      const names = ['byte-level-digits', 'metaspace', 'byte-level-nfc', 'sentencepiece'];
      return Promise.all(
        names.map(async (name) => {
          const { tokenizer, config } = JSON.parse(
            await readFile(golden('tokenizer', `${name}.json`), 'utf8'),
          ) as Record<string, unknown>;
          return {
            'tokenizer.json': Buffer.from(JSON.stringify(tokenizer)),
            'tokenizer_config.json': Buffer.from(JSON.stringify(config)),
          };
        }),
      );
    },
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      const { readTokenizer } = await import('../../src/models/weights/hf-folder.js');
      const { json, config } = await readTokenizer(folder);
      useTokenizer(createTokenizer(json, config, folder));
    },
  },
  'config.json': modelFolder(['config.json'], modelFiles.slice(1)),
  weights: modelFolder(['model.safetensors'], modelFiles.slice(0, 3)),
  shards: {
    originals: async () => {
      const names = [...(await names0())];
      const index = {
        metadata: {},
        weight_map: Object.fromEntries(names.map((name) => [name, 'model.safetensors'])),
      };
      return [{ 'model.safetensors.index.json': Buffer.from(JSON.stringify(index)) }];
    },
    read: async (folder, parts) => {
      const { 'model.safetensors': weights, ...others } = await filesOf(golden('llama/base'), modelFiles);
      await writeParts(folder, { ...others, 'model-1.safetensors': weights ?? new Uint8Array(0) });
      const index = Buffer.from(parts['model.safetensors.index.json'] ?? []).toString('latin1');
      await writeParts(folder, {
        'model.safetensors.index.json': Buffer.from(
          index.replaceAll('"model.safetensors"', '"model-1.safetensors"'),
          'latin1',
        ),
      });
      await readModel(folder);
    },
  },
  yaml: {
    originals: async () => {
      const names = ['llm2vec', 'quickstart', 'pretrain-tiny'];
      return Promise.all(
        names.map(async (name) => ({
          'x.yaml': await readFile(join(packageFolder, 'configs', `${name}.yaml`)),
        })),
      );
    },
    read: (_, parts) => {
      parseConfig(Buffer.from(parts['x.yaml'] ?? []).toString('utf8'), {
        file: 'x.yaml',
        overrides: [],
        schema: runSchema,
      });
      return Promise.resolve();
    },
  },
  manifest: {
    originals: () => {
      const manifest = {
        ...{
          format: 'lmvec 1',
          kind: 'weights',
          lmvec: '0.1.0',
          base: { path: 'embedded' },
          previous: ['mntp'],
          files: [],
        },
        recipe: {
          attention: 'bidirectional',
          window: 'keep',
          pooling: { type: 'mean', layer: -1 },
          maxTokens: 512,
        },
        lineage: [{ stage: 'mntp', objective: 'mntp', steps: 1, tuning: 'lora' }],
      };
      return Promise.resolve([{ 'lmvec.json': Buffer.from(JSON.stringify(manifest)) }]);
    },
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      await readManifest(folder);
    },
  },
  peft: {
    originals: () =>
      Promise.all(
        ['peft/adapter', 'llama/base/adapter', 'peft/chain/mntp'].map((name) =>
          filesOf(golden(name), ['adapter_config.json', 'adapter_model.safetensors']),
        ),
      ),
    read: async (folder, parts) => {
      await writeParts(folder, parts);
      await readAdapter(folder);
    },
  },
  tsv: table('x.tsv', () => Promise.resolve([Buffer.from(tsv)])),
  csv: table('x.csv', () => Promise.resolve([Buffer.from(csv)])),
  jsonl: table('x.jsonl', () => Promise.resolve([Buffer.from(jsonl)])),
  gzip: table('x.tsv.gz', () => Promise.resolve([gzipSync(tsv.repeat(1).padEnd(4000, '1\ta\tb\n'))])),
  zstd: table('x.txt.zst', async () => [await readFile(golden('data/lines.txt.zst'))]),
  parquet: table('x.parquet', () =>
    Promise.all(
      ['plain', 'snappy', 'gzip-v2', 'zstd', 'brotli', 'lz4', 'delta', 'index'].map((name) =>
        readFile(golden('data', `${name}.parquet`)),
      ),
    ),
  ),
  ...fuzzedDoors,
};

async function names0(): Promise<readonly string[]> {
  const store = await openSafetensors(golden('llama/base/model.safetensors'));
  try {
    return store.names;
  } finally {
    await store.close();
  }
}
