import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTokenizer } from '../../../src/data/tokenizer.js';
import { openDecoder, type DecoderSource } from '../../../src/models/weights/index.js';
import { buildGguf, tinyLlama, type Pair } from './gguf-builder.js';

const golden = join(import.meta.dirname, '../../golden/gguf');
const models = process.env['LMVEC_MODELS'] ?? join(import.meta.dirname, '../../../../shared/models');
const realModel = join(models, 'SmolLM2-135M-Instruct.Q4_1.gguf');
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-gguf-tokenizer-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

type Changed = Readonly<Record<string, Pair | undefined>>;

/** The tokenizer of a model file with these tokens and this metadata. */
async function tokenizerOf(
  tokens: readonly string[],
  pairs: readonly Pair[],
): Promise<DecoderSource['tokenizer']> {
  const changed: Changed = Object.fromEntries(pairs.map((pair) => [pair[0], pair]));
  const path = join(folder, 'model.gguf');
  await writeFile(path, buildGguf(tinyLlama(tokens, changed)));
  const decoder = await openDecoder(path);
  await decoder.weights.close();
  return decoder.tokenizer;
}

async function readGolden<T>(name: string): Promise<T> {
  return JSON.parse(await readFile(join(golden, name), 'utf8')) as T;
}

function idsOf(tokenizer: DecoderSource['tokenizer'], texts: readonly string[]): number[][] {
  const ours = createTokenizer(tokenizer.json, tokenizer.config);
  return texts.map((text) => [...ours.encode(text)]);
}

describe('byte-level BPE gives the ids of Python tokenizers', async () => {
  const { tokens, merges, texts, ids } = await readGolden<{
    tokens: string[];
    merges: string[];
    texts: string[];
    ids: Record<string, number[][]>;
  }>('tokenizers.json');
  const types = tokens.map((_, id) => (id < 2 ? 3 : 1));
  it.each(Object.entries(ids))('tokenizer.ggml.pre %s', async (pre, expected) => {
    const tokenizer = await tokenizerOf(tokens, [
      ['tokenizer.ggml.pre', 'string', pre],
      ['tokenizer.ggml.merges', 'strings', merges],
      ['tokenizer.ggml.token_type', 'i32s', types],
    ]);
    expect(idsOf(tokenizer, texts)).toEqual(expected);
  });
});

it('SentencePiece BPE gives the ids of Python tokenizers', async () => {
  const { tokens, types, scores, texts, ids } = await readGolden<{
    tokens: string[];
    types: number[];
    scores: number[];
    texts: string[];
    ids: number[][];
  }>('sentencepiece.json');
  const tokenizer = await tokenizerOf(tokens, [
    ['tokenizer.ggml.model', 'string', 'llama'],
    ['tokenizer.ggml.scores', 'f32s', scores],
    ['tokenizer.ggml.token_type', 'i32s', types],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
  ]);
  expect(idsOf(tokenizer, texts)).toEqual(ids);
  expect(tokenizer.config['add_bos_token']).toBe(true);
});

it.skipIf(!existsSync(realModel))(
  'SmolLM2 from its GGUF (skipped without ../shared/models): ids of the original splitting, every digit singly, no chat template',
  async () => {
    const decoder = await openDecoder(realModel);
    await decoder.weights.close();
    const { texts, ids } = await readGolden<{ texts: string[]; ids: number[][] }>('smollm.json');
    expect(idsOf(decoder.tokenizer, texts)).toEqual(ids);
    const tokenizer = createTokenizer(decoder.tokenizer.json, decoder.tokenizer.config);
    expect(tokenizer.encode('1984')).toHaveLength(4);
    expect(tokenizer.addBos).toBe(false);
    expect(tokenizer.tokenId('<|im_end|>')).toBe(2);
    expect(JSON.stringify(decoder.tokenizer.config)).not.toContain('template');
  },
);

describe('special tokens', () => {
  const base: readonly Pair[] = [
    ['tokenizer.ggml.token_type', 'i32s', [3, 3, 4, 1]],
    ['tokenizer.ggml.bos_token_id', 'u32', 0],
    ['tokenizer.ggml.eos_token_id', 'u32', 1],
  ];
  const tokens = ['<s>', '</s>', '<mine>', 'a'];

  it('control and user-defined tokens are added tokens, only the former special', async () => {
    const { json, config } = await tokenizerOf(tokens, base);
    const added = json['added_tokens'] as { id: number; content: string; special: boolean }[];
    expect(added.map(({ id, content, special }) => [id, content, special])).toEqual([
      [0, '<s>', true],
      [1, '</s>', true],
      [2, '<mine>', false],
    ]);
    expect([config['bos_token'], config['eos_token'], config['add_bos_token']]).toEqual([
      '<s>',
      '</s>',
      false,
    ]);
    expect(json['post_processor']).toBeNull();
  });

  it('bos and eos are added where the file says so, and by default for Llama 3', async () => {
    const both = await tokenizerOf(tokens, [
      ...base,
      ['tokenizer.ggml.add_bos_token', 'bool', true],
      ['tokenizer.ggml.add_eos_token', 'bool', true],
    ]);
    const post = both.json['post_processor'] as { single: unknown };
    expect(post.single).toEqual([
      { SpecialToken: { id: '<s>', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '</s>', type_id: 0 } },
    ]);
    const llama3 = await tokenizerOf(tokens, [...base, ['tokenizer.ggml.pre', 'string', 'llama-bpe']]);
    expect(createTokenizer(llama3.json, llama3.config).addBos).toBe(true);
  });
});

describe('a tokenizer that does not fit is refused in one sentence', () => {
  const cases: readonly [what: string, tokens: string[], pairs: Pair[], message: string][] = [
    [
      'merge twice',
      ['a', 'b', 'ab'],
      [['tokenizer.ggml.merges', 'strings', ['a b', 'a b']]],
      'merge 1 "a b" appears twice',
    ],
    [
      'merge of three',
      ['a', 'b', 'ab'],
      [['tokenizer.ggml.merges', 'strings', ['a b b']]],
      'is not two tokens',
    ],
    [
      'merge without a space',
      ['a', 'b', 'ab'],
      [['tokenizer.ggml.merges', 'strings', ['ab']]],
      'is not two tokens',
    ],
    ['merge to nothing', ['a', 'b'], [['tokenizer.ggml.merges', 'strings', ['a b']]], 'vocabulary lacks'],
    ['token twice', ['a', 'a'], [], 'token "a" appears twice'],
    ['types', ['a', 'b'], [['tokenizer.ggml.token_type', 'i32s', [1]]], '1 types'],
    ['bos', ['a', 'b'], [['tokenizer.ggml.bos_token_id', 'u32', 2]], 'bos_token_id is past the vocabulary'],
    ['pre', ['a', 'b'], [['tokenizer.ggml.pre', 'string', 'tekken']], 'got tekken'],
    ['model', ['a', 'b'], [['tokenizer.ggml.model', 'string', 'bert']], 'got bert'],
    [
      'scores',
      ['a', 'b'],
      [
        ['tokenizer.ggml.model', 'string', 'llama'],
        ['tokenizer.ggml.scores', 'f32s', [1]],
      ],
      '1 scores',
    ],
  ];
  it.each(cases)('%s', async (_, tokens, pairs, message) => {
    await expect(tokenizerOf(tokens, pairs)).rejects.toThrow(message);
  });

  it('more tokens than the embedding has rows', async () => {
    const spec = tinyLlama(['a', 'b', 'c', 'd'], {});
    const path = join(folder, 'short.gguf');
    const tensors = spec.tensors.map((tensor) =>
      tensor.name === 'token_embd.weight' ? { ...tensor, dimensions: [8, 3] } : tensor,
    );
    await writeFile(path, buildGguf({ ...spec, tensors }));
    await expect(openDecoder(path)).rejects.toThrow('got 4 tokens, expected at most 3');
  });
});
