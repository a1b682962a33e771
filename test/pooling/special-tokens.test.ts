import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import type { TokenizedText } from '../../src/data/batch.js';
import { packTexts } from '../../src/data/packing.js';
import { createTokenizer } from '../../src/data/tokenizer.js';
import { ADDED_ROWS, addedRows, decoderWithTokens } from '../../src/models/added-tokens.js';
import type { Decoder } from '../../src/models/decoder.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { GradientSink } from '../../src/models/gradient-sink.js';
import { expandInto, isPacked, valuesOf, type Weight } from '../../src/models/resident.js';
import { packings } from '../../src/models/weights/packing.js';
import { recipePreparer, type EmbeddingRecipe } from '../../src/pooling/embedding-model.js';
import { createPooling } from '../../src/pooling/registry.js';
import { tokenNames } from '../../src/pooling/special-tokens.js';
import { EmbeddingHead } from '../../src/training/objectives/embedding-head.js';
import { pooling, relativeDifference, tinyDecoder } from '../training/tiny.js';

interface Golden {
  readonly tokens: number;
  readonly first: number;
  readonly rows: readonly number[];
  readonly texts: readonly (readonly number[])[];
  readonly outputGradient: readonly number[];
  readonly models: Readonly<
    Record<
      'base' | 'tied',
      Readonly<
        Record<
          'last' | 'mean',
          { readonly embeddings: readonly number[]; readonly rowsGradient: readonly number[] }
        >
      >
    >
  >;
}

const golden = JSON.parse(
  await readFile(new URL('../golden/special-tokens/golden.json', import.meta.url), 'utf8'),
) as Golden;
const names = tokenNames(golden.tokens);
const recipe = (more: Partial<EmbeddingRecipe> = {}): EmbeddingRecipe => ({
  attention: 'causal',
  window: 'keep',
  pooling: pooling('specialTokens'),
  maxTokens: 64,
  ...more,
});

/** The decoder with its table, head and block matrices in bfloat16. */
function packed(decoder: Decoder): Decoder {
  const { storedType, pack } = packings.bfloat16;
  const weights = new Map(
    [...decoder.weights].map(([name, weight]): [string, Weight] => {
      if (isPacked(weight) || decoder.shapes.get(name)?.length !== 2) return [name, weight];
      const bytes = new Uint8Array(new SharedArrayBuffer(2 * weight.length));
      pack(weight, bytes);
      return [name, { storedType, length: weight.length, bytes, merged: [] }];
    }),
  );
  return { ...decoder, weights };
}

async function embeddingsAndGradient(decoder: Decoder, aggregate: 'last' | 'mean') {
  const pool = new TensorPool();
  const runner = new DecoderRunner({
    decoder,
    attention: 'causal',
    window: 'keep',
    pool,
    threads: 1,
    trainable: new Map([[ADDED_ROWS, addedRows(decoder)]]),
    policy: 'all',
  });
  const head = new EmbeddingHead({
    decoder,
    tokenizer: createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config),
    recipe: recipe({ pooling: pooling('specialTokens', { aggregate }) }),
    runner,
    pool,
    threads: 1,
    seed: 0,
    trained: new Set([ADDED_ROWS]),
    poolingTensors: {},
  });
  const texts = golden.texts.map((text): TokenizedText => {
    const ids = Int32Array.from([...text, ...names.map((_, i) => golden.first + i)]);
    return { ids, pool: new Uint8Array(ids.length).fill(1) };
  });
  const pass = await runner.forward(packTexts(texts, { maxTokens: 16 }), {
    keep: true,
    layers: head.blocks,
    also: head.also,
  });
  const pooled = await head.forward(pass, texts.length);
  const embeddings = pooled.embeddings.slice();
  const sink = new GradientSink();
  const gradient = Float32Array.from(golden.outputGradient);
  await runner.backward(pass, await head.backward(pass, pooled, { gradient, sink }), sink);
  await runner.dispose();
  await head.dispose();
  return { embeddings, gradients: sink.gradients };
}

describe('special tokens against PyTorch: embeddings and gradients of the new rows', () => {
  it.each([
    ['base', 'last'],
    ['base', 'mean'],
    ['tied', 'last'],
    ['tied', 'mean'],
  ] as const)('%s, %s', async (variant, aggregate) => {
    const rows = Float32Array.from(golden.rows);
    const decoder = decoderWithTokens(await tinyDecoder(variant), names, { rows });
    expect(decoder.config.embedding.added).toEqual({ first: golden.first, count: golden.tokens });
    const { embeddings, gradients } = await embeddingsAndGradient(decoder, aggregate);
    const expected = golden.models[variant][aggregate];
    expect(relativeDifference(embeddings, expected.embeddings)).toBeLessThan(1e-5);
    expect([...gradients.keys()]).toEqual([ADDED_ROWS]);
    expect(relativeDifference(gradients.get(ADDED_ROWS)!, expected.rowsGradient)).toBeLessThan(1e-5);
  });

  it('packed weights give what the same values give in float32, their rows trained in float32', async () => {
    const rows = Float32Array.from(golden.rows);
    const few = packed(await tinyDecoder('tied'));
    const wide: Decoder = {
      ...few,
      weights: new Map([...few.weights].map(([name, weight]) => [name, valuesOf(weight)])),
    };
    const [a, b] = [few, wide].map((each) => decoderWithTokens(each, names, { rows: rows.slice() }));
    expect(await embeddingsAndGradient(a!, 'mean')).toEqual(await embeddingsAndGradient(b!, 'mean'));
    // What is written to files is the table with its rows.
    const table = a!.weights.get('model.embed_tokens.weight')!;
    const values = new Float32Array(table.length);
    expandInto(table as Exclude<Weight, Float32Array>, values);
    expect(values).toEqual(b!.weights.get('model.embed_tokens.weight'));
    expect(values.subarray(-rows.length)).toEqual(rows);
  });
});

describe('a decoder with special tokens', () => {
  it('has new rows near the mean of the old ones, by the seed; an untied head predicts them as an average token', async () => {
    const bare = await tinyDecoder('base');
    const table = valuesOf(bare.weights.get('model.embed_tokens.weight')!);
    const decoder = decoderWithTokens(bare, names, { seed: 1 });
    expect(decoder.config.vocab_size).toBe(75);
    expect(decoder.rawConfig['vocab_size']).toBe(75);
    const rows = addedRows(decoder);
    expect(addedRows(decoderWithTokens(bare, names, { seed: 1 }))).toEqual(rows);
    expect(addedRows(decoderWithTokens(bare, names, { seed: 2 }))).not.toEqual(rows);
    const mean = Array.from(
      { length: 24 },
      (_, i) => Array.from({ length: 72 }, (_, row) => table[row * 24 + i]!).reduce((a, b) => a + b) / 72,
    );
    const deviation = Math.sqrt(
      table.reduce((sum, x, i) => sum + (x - mean[i % 24]!) ** 2, 0) / table.length,
    );
    const noise = Math.sqrt(rows.reduce((sum, x, i) => sum + (x - mean[i % 24]!) ** 2, 0) / rows.length);
    expect(noise / deviation).toBeGreaterThan(0.07);
    expect(noise / deviation).toBeLessThan(0.13);
    const whole = decoder.weights.get('model.embed_tokens.weight') as Float32Array;
    expect(whole.subarray(0, table.length)).toEqual(table);
    expect(decoder.weights.get('lm_head.weight')!.length).toBe(75 * 24);
    expect(decoder.shapes.get('lm_head.weight')).toEqual([75, 24]);
  });

  it('takes the free rows of a padded table, and leaves the table as large as it is', async () => {
    const bare = await tinyDecoder('tied');
    const table = valuesOf(bare.weights.get('model.embed_tokens.weight')!);
    // Padding so far off that no mean may count it.
    const padded = new Float32Array(80 * 24).fill(1e6);
    padded.set(table);
    const name = 'model.embed_tokens.weight';
    const decoder = decoderWithTokens(
      {
        ...bare,
        config: { ...bare.config, vocab_size: 80 },
        weights: new Map(bare.weights).set(name, padded),
        shapes: new Map(bare.shapes).set(name, [80, 24]),
      },
      names,
      { seed: 1 },
    );
    expect(decoder.config).toMatchObject({ vocab_size: 80, embedding: { added: { first: 72, count: 3 } } });
    expect(decoder.weights.get(name)!.length).toBe(80 * 24);
    expect(addedRows(decoder)).toEqual(addedRows(decoderWithTokens(bare, names, { seed: 1 })));
  });

  it('goes on with the rows of a model that has the tokens', async () => {
    const once = decoderWithTokens(await tinyDecoder(), names, { seed: 1 });
    const again = decoderWithTokens(once, names, { seed: 2 });
    expect(addedRows(again)).toEqual(addedRows(once));
    expect(again.config.vocab_size).toBe(75);
    expect(() => decoderWithTokens(once, tokenNames(4), { seed: 2 })).toThrow(
      /none of <\|emb1\|>.*, or all of them/,
    );
  });

  it('embeds nothing before the first block', async () => {
    const { config } = await tinyDecoder();
    expect(() => createPooling(pooling('specialTokens', { layer: 0 }), config)).toThrow(
      /before the first block/,
    );
  });
});

describe('texts', () => {
  it('end in the special tokens, behind prompt and end token, and are cut before them', async () => {
    const { tokenizer } = decoderWithTokens(await tinyDecoder(), names, {});
    const opened = createTokenizer(tokenizer.json, tokenizer.config);
    const text = 'the cat sat on a mat';
    const bare = recipePreparer(recipe(), opened)(text);
    expect([...bare.ids]).toEqual([...opened.encode(text), 72, 73, 74]);
    const framed = recipePreparer(recipe({ prompt: 'the "{text}":"' }), opened)(text);
    expect([...framed.ids]).toEqual([...opened.encode(`the "${text}":"`), 72, 73, 74]);
    // What a prompt says of pooled tokens is of its own: here only special tokens are pooled.
    expect(framed.pool.every((pooled) => pooled === 1)).toBe(true);
    for (let maxTokens = 16; maxTokens >= 11; maxTokens--) {
      const cut = recipePreparer(recipe({ prompt: 'the "{text}":"', maxTokens }), opened)(`${text} ${text}`);
      expect(cut.ids.length).toBeLessThanOrEqual(maxTokens);
      expect([...cut.ids.slice(-6)]).toEqual([...opened.encode('":"'), 72, 73, 74]);
    }
    expect(() => recipePreparer(recipe({ maxTokens: 3 }), opened)).toThrow(/leaves no room for a text/);
    const plain = (await tinyDecoder()).tokenizer;
    expect(() => recipePreparer(recipe(), createTokenizer(plain.json, plain.config))).toThrow(
      /no special token to append: got <\|emb1\|>/,
    );
  });
});
