import { describe, expect, it } from 'vitest';
import {
  initialiseDecoder,
  initialiseLlama,
  initialiseSchema,
  llamaShapeSchema,
  llamaConfig,
} from '../../src/models/initialise.js';
import { modelSchema } from '../../src/models/schema.js';

const shape = llamaShapeSchema.parse({
  family: 'llama',
  vocab_size: 300,
  hidden_size: 48,
  intermediate_size: 64,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
});

function deviation(data: Float32Array): number {
  return Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
}

describe('initialiseLlama', () => {
  const tensors = initialiseLlama(shape, 7);

  it('has every tensor of a tied Llama in its shape', () => {
    expect(tensors.size).toBe(2 + 3 * 9);
    expect(tensors.get('model.embed_tokens.weight')?.shape).toEqual([300, 48]);
    expect(tensors.get('model.layers.2.self_attn.k_proj.weight')?.shape).toEqual([16, 48]);
    expect(tensors.get('model.layers.0.mlp.down_proj.weight')?.shape).toEqual([48, 64]);
    for (const { shape: sizes, data } of tensors.values())
      expect(data.length).toBe(sizes.reduce((product, size) => product * size, 1));
  });

  it('draws matrices with 0.02, residual ones with 0.02 / sqrt(6), and norms of 1', () => {
    expect(deviation(tensors.get('model.embed_tokens.weight')!.data)).toBeCloseTo(0.02, 3);
    expect(deviation(tensors.get('model.layers.1.mlp.down_proj.weight')!.data)).toBeCloseTo(
      0.02 / Math.sqrt(6),
      3,
    );
    expect(new Set(tensors.get('model.norm.weight')!.data)).toEqual(new Set([1]));
  });

  it('depends on the seed and the name only', () => {
    expect(initialiseLlama(shape, 7)).toEqual(tensors);
    const other = initialiseLlama({ ...shape, num_hidden_layers: 1 }, 7);
    const name = 'model.layers.0.self_attn.q_proj.weight';
    expect(other.get(name)?.data).toEqual(tensors.get(name)?.data);
    expect(initialiseLlama(shape, 8).get(name)?.data).not.toEqual(tensors.get(name)?.data);
    expect(tensors.get('model.layers.1.self_attn.q_proj.weight')?.data).not.toEqual(tensors.get(name)?.data);
  });

  it('has a head of its own where it is not tied', () => {
    expect(initialiseLlama({ ...shape, tie_word_embeddings: false }, 7).get('lm_head.weight')?.shape).toEqual(
      [300, 48],
    );
  });
});

describe('initialiseDecoder', () => {
  it('is a decoder whose tokenizer fits', async () => {
    const sentence = 'the quick brown fox jumps over a lazy dog while seven wizards mixed potions quietly';
    const texts = [sentence, sentence, sentence];
    const decoder = initialiseDecoder({ shape, seed: 7, texts });
    const { vocab } = decoder.tokenizer.json['model'] as { vocab: Record<string, number> };
    expect(Object.keys(vocab)).toHaveLength(300);
    expect(decoder.config).toEqual(llamaConfig(shape));
    const name = 'model.norm.weight';
    const first = await decoder.weights.read(name);
    first.fill(0);
    expect(await decoder.weights.read(name)).toEqual(new Float32Array(48).fill(1));
    expect(decoder.weights.info(name)).toEqual({ name, shape: [48], storedType: 'F32' });
    await expect(decoder.weights.read('nothing')).rejects.toThrow(/internal/);
  });
});

describe('model.initialise in a configuration', () => {
  it('fills in what is left out', () => {
    expect(modelSchema.parse({ initialise: { ...shape } })).toEqual({ initialise: shape });
  });

  it.each([
    [{ hidden_size: 50 }, 'a multiple of 2 x num_attention_heads'],
    [{ num_key_value_heads: 4 }, 'a divisor of num_attention_heads'],
  ])('refuses %j', (change, message) => {
    const result = initialiseSchema.safeParse({ ...shape, ...change });
    expect(result.error?.issues[0]?.message).toBe(message);
  });
});
