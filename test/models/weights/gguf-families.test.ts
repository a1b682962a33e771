import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { TensorPool } from '../../../src/compiler/pool.js';
import { padTexts, packTexts } from '../../../src/data/packing.js';
import { createTokenizer } from '../../../src/data/tokenizer.js';
import { loadDecoder, type Decoder, type Float32Decoder } from '../../../src/models/decoder.js';
import { DecoderRunner } from '../../../src/models/decoder-runner.js';
import { families, parseDecoderConfig } from '../../../src/models/families/index.js';
import { isPacked, valuesOf } from '../../../src/models/resident.js';
import { ggufLayouts } from '../../../src/models/weights/gguf-families.js';
import { openDecoder, openSafetensors } from '../../../src/models/weights/index.js';
import { UserError } from '../../../src/shared/errors.js';
import { relativeDifference } from '../../training/tiny.js';
import { Ends, valuesOfTexts } from '../family-golden.js';
import { buildGguf, tinyLlama, type GgufSpec, type Pair } from './gguf-builder.js';

const golden = join(import.meta.dirname, '../../golden');

/** See test/golden/gguf/families.py. */
interface Golden {
  readonly texts: readonly (readonly number[])[];
  /** What GGUF cannot say of each model's config.json. */
  readonly unsaid: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Which of the folder's layers a model has, where not each once. */
  readonly layers: Readonly<Record<string, readonly number[]>>;
}
const { texts, unsaid, layers } = JSON.parse(
  await readFile(join(golden, 'gguf/hidden.json'), 'utf8'),
) as Golden;

/** The folder where it is called otherwise. */
const folders: Readonly<Record<string, string>> = {
  gptneox: 'families/gpt-neox',
  'gptneox-sequential': 'families/gpt-neox-sequential',
  'llama-moe': 'mixtures/mixtral',
  qwen2moe: 'mixtures/qwen2-moe',
  qwen3moe: 'mixtures/qwen3-moe',
  olmoe: 'mixtures/olmoe',
  deepseek: 'mixtures/deepseek',
};
const folderOf = (variant: string): string => join(golden, folders[variant] ?? `families/${variant}`);

/** In other words in GGUF. */
const reworded: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  phi3: {
    rope_parameters: {
      rope_type: 'longrope',
      rope_theta: 10000,
      partial_rotary_factor: 0.75,
      short_factor: [1, 1.1, 1.3],
      long_factor: [1.5, 3, 7],
      // Derived where config.json leaves it out, written where GGUF has it.
      attention_factor: Math.SQRT2,
    },
  },
};

/** 1 + w is rounded where it is stored; llama-moe's matrices are float16. */
const roundingOf = (variant: string): number => (variant === 'llama-moe' ? 1e-3 : 2e-7);

async function decoderOf(path: string): Promise<Float32Decoder> {
  const source = await openDecoder(path);
  try {
    return await loadDecoder(source);
  } finally {
    await source.weights.close();
  }
}

const said = ['the cat sat on a mat', ' 12 "the": a,_b.', ''];

describe('a tiny model as GGUF is the Hugging Face folder that it was made from', () => {
  it.each(Object.keys(unsaid))('%s: structure, weights, tokenizer', async (variant) => {
    const ours = await openDecoder(join(golden, `gguf/${variant}.gguf`));
    const theirs = await openDecoder(folderOf(variant));
    try {
      const decoder = await loadDecoder(ours);
      const raw = { ...theirs.config, ...unsaid[variant], ...reworded[variant] };
      expect(almost(decoder.config)).toEqual(almost(parseDecoderConfig(raw, variant)));
      const taken = layers[variant];
      const nameThere = (name: string): string =>
        taken === undefined
          ? name
          : name.replace(/layers\.(\d)\./, (_, layer: string) => `layers.${String(taken[Number(layer)])}.`);
      const there = theirs.weights.names.filter((name) => {
        const layer = /layers\.(\d)\./.exec(name)?.[1];
        return layer === undefined || (taken ?? [Number(layer)]).includes(Number(layer));
      });
      expect([...new Set(ours.weights.names.map(nameThere))].sort()).toEqual(there.sort());
      for (const [name, weight] of decoder.weights) {
        const expected = await theirs.weights.read(nameThere(name));
        expect(weight.length, name).toBe(expected.length);
        const differences = weight.map((value, i) => Math.abs(value - (expected[i] as number)));
        expect(Math.max(...differences), name).toBeLessThan(roundingOf(variant));
      }
      const [a, b] = [ours, theirs].map(({ tokenizer }) => createTokenizer(tokenizer.json, tokenizer.config));
      // The mixtures' tokenizers merge nothing, which the gguf package cannot write: the file has one merge, of t and h.
      const those = folderOf(variant).includes('mixtures') ? ['a cat sat on a mat.'] : said;
      for (const text of those) expect(a!.encode(text)).toEqual(b!.encode(text));
    } finally {
      await ours.weights.close();
      await theirs.weights.close();
    }
  });

  it('every family that claims a GGUF form has one', () => {
    const claimed = new Set(families.flatMap(({ gguf }) => (gguf === undefined ? [] : [gguf])));
    expect([...claimed].sort()).toEqual([...ggufLayouts.keys()].sort());
  });

  it('every form has a file here', async () => {
    const named = Object.keys(unsaid).map(async (variant) => {
      const source = await openDecoder(join(golden, `gguf/${variant}.gguf`));
      await source.weights.close();
      return source.config['model_type'];
    });
    const opened = new Set(await Promise.all(named));
    for (const { modelType, gguf } of families)
      // A Mistral calls itself a Llama, for which there is llama.gguf beside llama-yarn.gguf.
      if (gguf !== undefined && modelType !== 'mistral') expect(opened).toContain(modelType);
  });
});

describe('a tiny model as GGUF has the hidden states of transformers', async () => {
  const reference = await openSafetensors(join(golden, 'gguf/hidden.safetensors'));
  const starts = texts.map((_, text) => texts.slice(0, text).reduce((sum, { length }) => sum + length, 0));
  const tokenized = texts.map((ids) => ({
    ids: Int32Array.from(ids),
    pool: new Uint8Array(ids.length).fill(1),
  }));
  const pool = new TensorPool();

  async function check(variant: string, decoder: Decoder, ends: Ends): Promise<void> {
    const tolerance = variant === 'gemma2' ? 1e-4 : 1e-5;
    const compare = async (name: string, actual: readonly Float32Array[]): Promise<void> => {
      const all = await reference.read(`${variant}.${name}`);
      const [rows, width] = reference.info(`${variant}.${name}`)?.shape as [number, number];
      expect(actual).toHaveLength(texts.length);
      for (const [text, values] of actual.entries()) {
        const [start, length] = [starts[text] as number, texts[text]?.length as number];
        if (start >= rows) continue;
        const expected = all.slice(start * width, (start + length) * width);
        expect(relativeDifference(values, expected), `${name}, text ${text}`).toBeLessThan(tolerance);
      }
    };
    for (const attention of ['causal', 'bidirectional'] as const) {
      const runner = new DecoderRunner({ decoder, attention, pool, threads: 1 });
      for (const batches of [[padTexts(tokenized, 'right')], packTexts(tokenized, { maxTokens: 16 })]) {
        const pass = await runner.forward(batches, { keep: false, also: [1] });
        const made = await Promise.all(
          pass.tiles.map(async ({ tile, hidden, also }) => ({
            tile,
            first: also[0]!,
            ...(await ends.run(hidden)),
          })),
        );
        const of = (name: 'first' | 'hidden' | 'logits'): Float32Array[] =>
          valuesOfTexts(made.map((state) => ({ tile: state.tile, values: state[name] })));
        await compare(`${attention}.hidden.L`, of('hidden'));
        if (attention === 'causal') {
          await compare('causal.hidden.1', of('first'));
          await compare('logits', of('logits'));
        }
        runner.release(pass);
      }
      await runner.dispose();
    }
  }

  it.each(Object.keys(unsaid))('%s', async (variant) => {
    const decoder = await decoderOf(join(golden, `gguf/${variant}.gguf`));
    const ends = new Ends(decoder, pool);
    await check(variant, decoder, ends);
    await ends.release();
  });

  it('llama-moe with its matrices left in float16: rows and experts are cut out of their bytes', async () => {
    const path = join(golden, 'gguf/llama-moe.gguf');
    const source = await openDecoder(path);
    const decoder = await loadDecoder(source, { residentPrecision: 'stored' });
    await source.weights.close();
    const packed = [...decoder.weights.values()].filter(isPacked);
    expect(packed.length).toBeGreaterThan(20);
    // What is merged into one expert is merged into no other.
    expect(new Set(packed.map(({ merged }) => merged)).size).toBe(packed.length);
    const expanded = await decoderOf(path);
    for (const [name, weight] of decoder.weights)
      expect(valuesOf(weight), name).toEqual(expanded.weights.get(name));
    const ends = new Ends(expanded, pool);
    await check('llama-moe', decoder, ends);
    await ends.release();
  });
});

describe('a mixture that is not as it should be is refused in one sentence', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lmvec-gguf-mixture-'));
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** Two experts of width 4 in one layer; `changed` as in tinyLlama. */
  function tinyMixture(changed: Readonly<Record<string, Pair | undefined>> = {}): GgufSpec {
    const spec = tinyLlama(['a', 'b'], {
      'llama.feed_forward_length': ['llama.feed_forward_length', 'u32', 4],
      'llama.expert_count': ['llama.expert_count', 'u32', 2],
      'llama.expert_used_count': ['llama.expert_used_count', 'u32', 1],
      ...changed,
    });
    const joined = spec.tensors.map((tensor) => {
      const last = /ffn_(gate|up|down)\./.exec(tensor.name)?.[1];
      if (last === undefined) return tensor;
      const dimensions = last === 'down' ? [4, 8, 2] : [8, 4, 2];
      return { ...tensor, name: `blk.0.ffn_${last}_exps.weight`, dimensions };
    });
    const router = { name: 'blk.0.ffn_gate_inp.weight', dimensions: [8, 2], type: 0, offset: spec.dataBytes };
    return { ...spec, tensors: [...joined, router], dataBytes: spec.dataBytes + 64 };
  }
  const split = (spec: GgufSpec): GgufSpec => ({
    ...spec,
    tensors: spec.tensors.flatMap((tensor) =>
      tensor.name.endsWith('_exps.weight')
        ? [0, 1].map((expert) => ({
            ...tensor,
            name: tensor.name.replace('_exps', `.${expert}`),
            dimensions: tensor.dimensions.slice(0, 2),
            offset: tensor.offset + 128 * expert,
          }))
        : [tensor],
    ),
  });
  const open = async (spec: GgufSpec): Promise<Float32Decoder> => {
    const path = join(folder, 'model.gguf');
    await writeFile(path, buildGguf(spec));
    return decoderOf(path);
  };
  const value = (key: string, type: Pair[1], value: unknown): Record<string, Pair> => ({
    [`llama.${key}`]: [`llama.${key}`, type, value],
  });

  it('in one tensor for all experts and, as before April 2024, in one for each', async () => {
    const [joined, single] = [await open(tinyMixture()), await open(split(tinyMixture()))];
    expect(joined.config.model_type).toBe('mixtral');
    expect([...single.shapes].sort()).toEqual([...joined.shapes].sort());
    expect(joined.shapes.get('model.layers.0.block_sparse_moe.experts.1.w2.weight')).toEqual([8, 4]);
  });

  it.each<[string, GgufSpec, string]>([
    ['other experts', tinyMixture(value('expert_count', 'u32', 3)), 'expected matrices of 3 experts'],
    ['too many', tinyMixture(value('expert_count', 'u32', 1e9)), 'llama.expert_count is not supported'],
    ['no number', tinyMixture({ 'llama.expert_used_count': undefined }), 'expert_used_count is missing'],
    ['more than all', tinyMixture(value('expert_used_count', 'u32', 3)), 'more experts for a token'],
    ['sigmoid', tinyMixture(value('expert_gating_func', 'u32', 2)), 'expert_gating_func is not supported'],
    [
      'scaled',
      tinyMixture(value('expert_weights_scale', 'f32', 2.5)),
      'expert_weights_scale is not supported',
    ],
    ['not renormalised', tinyMixture(value('expert_weights_norm', 'bool', false)), 'expert_weights_norm'],
  ])('%s', async (_, spec, message) => {
    const opened = open(spec);
    await expect(opened).rejects.toThrow(message);
    await expect(opened).rejects.toBeInstanceOf(UserError);
  });
});

/** Numbers as float32 holds them: GGUF's metadata has no others. */
function almost(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (_, part: unknown) =>
    typeof part === 'number' ? Math.fround(part) : part,
  );
}
