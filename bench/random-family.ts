import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { openDecoder } from '../src/models/weights/index.js';
import { writeRandomFolder } from './random-models.js';

/** Of SmolLM2, whose tokenizer the random models get. */
const VOCABULARY = 49152;

const common = {
  vocab_size: VOCABULARY,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  attention_bias: false,
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 0,
  dtype: 'float32',
};

/** Mid-sized shapes, 120 to 150 million parameters a token. */
const shapes = {
  qwen3: {
    ...common,
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    hidden_size: 768,
    intermediate_size: 2304,
    num_hidden_layers: 16,
    num_attention_heads: 12,
    num_key_value_heads: 4,
    head_dim: 64,
    hidden_act: 'silu',
    rope_parameters: { rope_type: 'default', rope_theta: 1e6 },
  },
  // google/gemma-3-270m
  gemma3: {
    ...common,
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    hidden_size: 640,
    intermediate_size: 2048,
    num_hidden_layers: 18,
    num_attention_heads: 4,
    num_key_value_heads: 1,
    head_dim: 256,
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: 256,
    sliding_window: 512,
    layer_types: Array.from({ length: 18 }, (_, i) =>
      (i + 1) % 6 === 0 ? 'full_attention' : 'sliding_attention',
    ),
    rope_parameters: {
      full_attention: { rope_type: 'default', rope_theta: 1e6 },
      sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
    },
  },
  // A quarter of the experts for each token, 122 of 290 million parameters.
  olmoe: {
    ...common,
    architectures: ['OlmoeForCausalLM'],
    model_type: 'olmoe',
    hidden_size: 768,
    intermediate_size: 512,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    num_key_value_heads: 12,
    num_experts: 16,
    num_experts_per_tok: 4,
    norm_topk_prob: false,
    hidden_act: 'silu',
    rope_parameters: { rope_type: 'default', rope_theta: 1e4 },
  },
} as const;

/** Writes a folder of random weights in a family's shape, with the tokenizer of a model of SmolLM2's, for `npm run bench`. */
async function main(): Promise<void> {
  const given = await yargs(hideBin(process.argv))
    .options({
      family: { choices: Object.keys(shapes) as (keyof typeof shapes)[], demandOption: true },
      tokenizer: {
        type: 'string',
        demandOption: true,
        describe: 'a model whose tokenizer has 49,152 tokens',
      },
      output: { type: 'string', demandOption: true, describe: 'the folder' },
    })
    .strict()
    .parseAsync();
  const source = await openDecoder(given.tokenizer);
  await source.weights.close();
  await writeRandomFolder(given.output, shapes[given.family], 'F32');
  for (const [name, json] of Object.entries({
    'tokenizer.json': source.tokenizer.json,
    'tokenizer_config.json': source.tokenizer.config,
  }))
    await writeFile(join(given.output, name), JSON.stringify(json));
}

await main();
