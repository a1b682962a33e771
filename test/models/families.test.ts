import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadDecoder } from '../../src/models/decoder.js';
import { families, parseDecoderConfig } from '../../src/models/families/index.js';
import { matrixLayout } from '../../src/models/lora.js';
import { adaptedMatrices } from '../../src/models/schema.js';
import { blockMatrices } from '../../src/models/weight-shapes.js';
import {
  openDecoder,
  openSafetensors,
  readAdapter,
  writeSafetensors,
} from '../../src/models/weights/index.js';
import type { TensorToWrite } from '../../src/models/weights/safetensors-writer.js';
import { UserError } from '../../src/shared/errors.js';
import { temporaryFolders } from '../export/models.js';
import { familyDecoder, variantFolder, variants } from './family-golden.js';

const temporary = temporaryFolders();

async function configOf(variant: string): Promise<Record<string, unknown>> {
  const text = await readFile(join(variantFolder(variant), 'config.json'), 'utf8');
  return JSON.parse(text) as Record<string, unknown>;
}

describe('what is not supported is one sentence', () => {
  it.each([
    [
      'llama',
      { model_type: 'qwen2_vl' },
      'unsupported model_type: got "qwen2_vl"',
      'nearest supported family is qwen2)',
    ],
    ['llama', { model_type: 'mistral3' }, 'unsupported model_type', 'nearest supported family is mistral)'],
    ['llama', { model_type: 'mamba' }, 'unsupported model_type', 'nearest supported family is'],
    [
      'llama',
      { model_type: undefined },
      'unsupported model_type: got none',
      'nearest supported family is llama)',
    ],
    [
      'gpt2',
      { scale_attn_by_inverse_layer_idx: true },
      'a gpt2 model',
      'scale_attn_by_inverse_layer_idx true',
    ],
    ['llama', { hidden_act: 'relu2' }, 'a llama model', 'hidden_act "relu2"'],
    ['llama', { rope_parameters: { rope_type: 'ntk' } }, 'a llama model', 'rope.rope_type "ntk"'],
    ['llama', { hidden_size: undefined }, 'a llama model', 'hidden_size'],
    ['llama', { head_dim: 5 }, 'a llama model', 'even number of channels'],
    ['llama', { quantization_config: { quant_method: 'gptq' } }, 'quantization_config', 'gptq'],
    ['ministral', { layer_types: ['full_attention'] }, 'layer_types is too short', 'expected 2'],
    [
      'ministral',
      { layer_types: ['chunked', 'full_attention'] },
      'a ministral model',
      'layer_types.0 "chunked"',
    ],
    [
      'phi3',
      { rope_parameters: { rope_type: 'longrope', long_factor: [1], short_factor: [1] } },
      'do not fit',
      '4 each',
    ],
    ['opt', { layer_norm_elementwise_affine: false }, 'a opt model', 'layer_norm_elementwise_affine false'],
  ])('%s with %j', async (variant, change, ...parts) => {
    const raw = { ...(await configOf(variant)), ...change };
    expect(() => parseDecoderConfig(raw, 'config.json')).toThrow(UserError);
    for (const part of parts) expect(() => parseDecoderConfig(raw, 'config.json')).toThrow(part);
  });

  it('an activation by another of its names', async () => {
    // GPT-NeoX-20B says gelu_fast.
    const raw = await configOf('gpt-neox');
    const parsed = (name: string) => parseDecoderConfig({ ...raw, hidden_act: name }, 'config.json');
    expect(parsed('gelu_fast')).toEqual(parsed('gelu_new'));
    expect(parsed('swish')).toEqual(parsed('silu'));
    expect(() => parsed('constructor')).toThrow('hidden_act "constructor"');
  });

  it('tensors that are missing, have another shape, or have no place: the first ten', async () => {
    const folder = await variantWith('qwen3', (tensors) => [
      ...tensors
        .filter(({ name }) => name !== 'model.norm.weight')
        .map((tensor) => (tensor.name.endsWith('q_norm.weight') ? { ...tensor, shape: [2, 3] } : tensor)),
      ...Array.from({ length: 12 }, (_, i) => ({ ...tensors[0]!, name: `extra.${i}` })),
    ]);
    const source = await openDecoder(folder);
    const error: unknown = await loadDecoder(source).catch((reason: unknown) => reason);
    await source.weights.close();
    expect(error).toBeInstanceOf(UserError);
    const { message } = error as UserError;
    expect(message).toContain('model.norm.weight is missing');
    expect(message).toContain('self_attn.q_norm.weight is [2, 3] instead of [6]');
    expect(message).toContain('extra.0 has no place in a qwen3 model');
    expect(message).toContain('; and 5 more');
    expect(message.split('; ')).toHaveLength(11);
  });
});

async function variantWith(
  variant: string,
  change: (tensors: readonly TensorToWrite[]) => readonly TensorToWrite[],
): Promise<string> {
  const folder = await temporary();
  await cp(variantFolder(variant), folder, { recursive: true });
  const path = join(folder, 'model.safetensors');
  const store = await openSafetensors(path);
  const tensors: TensorToWrite[] = [];
  for (const name of store.names)
    tensors.push({ ...store.info(name)!, storedType: 'F32', data: await store.read(name) });
  await store.close();
  await writeSafetensors(path, change(tensors));
  return folder;
}

describe.each(variants)('%s', (variant) => {
  it('is loaded from a base model, whose names have no prefix, and with buffers of old checkpoints', async () => {
    const whole = await familyDecoder(variantFolder(variant));
    const { prefix, head } = families.find(({ modelType }) => modelType === whole.config.model_type)!.names;
    const folder = await variantWith(variant, (tensors) => [
      ...tensors
        .filter(({ name }) => name !== head)
        .map((tensor) => ({ ...tensor, name: tensor.name.replace(prefix, '') })),
      ...['rotary_emb.inv_freq', 'attn.bias', 'attn.masked_bias', 'attention.bias'].map((buffer) => ({
        ...tensors[0]!,
        name: `${whole.config.blocks}0.${buffer}`,
      })),
    ]);
    const base = await familyDecoder(folder);
    expect([...base.weights.keys()]).toEqual([...whole.weights.keys()].filter((name) => name !== head));
    for (const [name, weight] of base.weights) expect(weight).toEqual(whole.weights.get(name));
  });

  it('names only matrices that a recipe can name', async () => {
    const { config } = await familyDecoder(variantFolder(variant));
    for (const structure of config.structures)
      for (const name of Object.keys(blockMatrices(structure, config.hidden_size)))
        expect(adaptedMatrices).toContain(name.slice(name.lastIndexOf('.') + 1));
  });
});

it.each([
  ['transformers 4', 'language_model.model.'],
  ['transformers 5', 'model.language_model.'],
])('the text part of a Gemma 3 that sees pictures, %s', async (_, prefix) => {
  const folder = await variantWith('gemma3', (tensors) => [
    ...tensors.map((tensor) => ({ ...tensor, name: tensor.name.replace(/^model\./, prefix) })),
    { ...tensors[0]!, name: 'vision_tower.vision_model.embeddings.patch_embedding.weight' },
    { ...tensors[0]!, name: 'model.multi_modal_projector.mm_input_projection_weight' },
  ]);
  const text = await configOf('gemma3');
  const whole = { model_type: 'gemma3', text_config: text, vision_config: {}, eos_token_id: [1, 106] };
  await writeFile(join(folder, 'config.json'), JSON.stringify(whole));
  const inside = await familyDecoder(folder);
  const alone = await familyDecoder(variantFolder('gemma3'));
  expect(inside.config).toEqual(alone.config);
  expect(inside.weights).toEqual(alone.weights);
});

it.each(['llama', 'gemma2', 'gpt2'])("peft's own adapter of a %s fits", async (variant) => {
  const decoder = await familyDecoder(variantFolder(variant));
  const { names } = families.find(({ modelType }) => modelType === decoder.config.model_type)!;
  const layout = matrixLayout(decoder.config);
  const adapter = await readAdapter(join(variantFolder(variant), 'adapter'), { names, layout });
  expect(adapter.rank).toBe(3);
  const blocks = decoder.config.structures.map((structure) =>
    Object.keys(blockMatrices(structure, decoder.config.hidden_size)),
  );
  expect(adapter.tensors.size).toBe(2 * decoder.config.num_hidden_layers * blocks[0]!.length);
  for (const name of adapter.tensors.keys())
    expect(decoder.weights.has(name.replace(/lora_[AB]\.weight$/, 'weight'))).toBe(true);
});
