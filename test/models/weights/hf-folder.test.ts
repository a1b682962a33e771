import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  openDecoder,
  openSafetensors,
  writeSafetensors,
  type TensorToWrite,
} from '../../../src/models/weights/index.js';
import { loadDecoder } from '../../../src/models/decoder.js';
import { loadEmbeddingModel } from '../../../src/pooling/load-model.js';
import { UserError } from '../../../src/shared/errors.js';

const base = join(import.meta.dirname, '../../golden/llama/base');
let folder: string;
beforeEach(async () => {
  const parent = await mkdtemp(join(tmpdir(), 'lmvec-folder-'));
  folder = join(parent, 'model');
  await mkdir(folder);
  for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']) {
    await cp(join(base, file), join(folder, file));
  }
});
afterEach(async () => {
  await rm(join(folder, '..'), { recursive: true, force: true });
});

/** All tensors of the golden model, renamed. */
async function tensors(rename: (name: string) => string = (name) => name): Promise<TensorToWrite[]> {
  const file = await openSafetensors(join(base, 'model.safetensors'));
  const list: TensorToWrite[] = [];
  for (const name of file.names) {
    list.push({
      name: rename(name),
      shape: file.info(name)?.shape ?? [],
      storedType: 'F32',
      data: await file.read(name),
    });
  }
  await file.close();
  return list;
}

async function edit(file: string, change: object): Promise<void> {
  const path = join(folder, file);
  const value = JSON.parse(await readFile(path, 'utf8')) as object;
  await writeFile(path, JSON.stringify({ ...value, ...change }));
}

async function expectSameWeights(): Promise<void> {
  const expected = await openDecoder(base);
  const ours = await openDecoder(folder);
  expect([...ours.weights.names].sort()).toEqual([...expected.weights.names].sort());
  for (const name of expected.weights.names)
    expect(await ours.weights.read(name)).toEqual(await expected.weights.read(name));
  await expected.weights.close();
  await ours.weights.close();
}

async function writeShards(map: (name: string, index: number) => string): Promise<Record<string, string>> {
  const list = await tensors();
  const weightMap = Object.fromEntries(list.map(({ name }, index) => [name, map(name, index)]));
  await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }));
  await rm(join(folder, 'model.safetensors'));
  return weightMap;
}

describe('layouts', () => {
  it('config.json and the tokenizer come as they are', async () => {
    const decoder = await openDecoder(folder);
    expect(decoder.format).toBe('folder');
    expect(decoder.config).toEqual(JSON.parse(await readFile(join(base, 'config.json'), 'utf8')));
    expect(decoder.tokenizer.json).toEqual(JSON.parse(await readFile(join(base, 'tokenizer.json'), 'utf8')));
    expect(decoder.weights.info('model.embed_tokens.weight')).toMatchObject({
      shape: [72, 24],
      storedType: 'F32',
    });
    await decoder.weights.close();
  });

  it('shards', async () => {
    const list = await tensors();
    const map = await writeShards((_, index) => `model-0000${index % 3}.safetensors`);
    for (const shard of new Set(Object.values(map))) {
      await writeSafetensors(
        join(folder, shard),
        list.filter(({ name }) => map[name] === shard),
      );
    }
    await expectSameWeights();
  });

  it('a base model without `model.` in front, with old rotary buffers', async () => {
    const list = await tensors((name) => name.replace(/^model\./, ''));
    const buffer = {
      name: 'layers.0.self_attn.rotary_emb.inv_freq',
      shape: [1],
      storedType: 'F32' as const,
      data: Float32Array.of(1),
    };
    await writeSafetensors(join(folder, 'model.safetensors'), [...list, buffer]);
    await expectSameWeights();
  });

  it('a base model without a head has none; a tied head that is stored all the same is left out', async () => {
    const headless = (await tensors()).filter(({ name }) => name !== 'lm_head.weight');
    await writeSafetensors(join(folder, 'model.safetensors'), headless);
    const first = await openDecoder(folder);
    expect(first.weights.names).not.toContain('lm_head.weight');
    await first.weights.close();
    await cp(join(base, 'model.safetensors'), join(folder, 'model.safetensors'));
    await edit('config.json', { tie_word_embeddings: true });
    const second = await openDecoder(folder);
    expect(second.weights.names).not.toContain('lm_head.weight');
    await second.weights.close();
  });

  it('special_tokens_map.json fills in what tokenizer_config.json lacks; chat templates are dropped', async () => {
    await writeFile(
      join(folder, 'tokenizer_config.json'),
      JSON.stringify({ eos_token: '</s>', bos_token: null, chat_template: '{{ x }}' }),
    );
    await writeFile(
      join(folder, 'special_tokens_map.json'),
      JSON.stringify({ eos_token: 'other', bos_token: '<s>', pad_token: '</s>' }),
    );
    const decoder = await openDecoder(folder);
    expect(decoder.tokenizer.config).toEqual({ eos_token: '</s>', bos_token: '<s>', pad_token: '</s>' });
    await decoder.weights.close();
  });
});

describe('what is missing or broken is said in one sentence', () => {
  const refused = async (message: string): Promise<void> => {
    const opened = openDecoder(folder);
    await expect(opened).rejects.toThrow(message);
    await expect(opened).rejects.toBeInstanceOf(UserError);
  };

  it.each([
    ['config.json', 'no config.json'],
    ['tokenizer.json', 'tokenizer.json is missing'],
    ['model.safetensors', 'no weights found'],
  ])('%s', async (file, message) => {
    await rm(join(folder, file));
    await refused(message);
  });

  it('JSON that is none', async () => {
    await writeFile(join(folder, 'config.json'), '{"a":');
    await refused('config.json: not valid JSON');
    await writeFile(join(folder, 'config.json'), '[]');
    await refused('config.json: wrong JSON: expected an object');
  });

  it.each([
    '../model.safetensors',
    '/tmp/x.safetensors',
    'sub/x.safetensors',
    '..\\x.safetensors',
    'C:x.safetensors',
    '.x.safetensors',
    'x.bin',
    '',
  ])('a shard named %j', async (shard) => {
    await cp(join(folder, 'model.safetensors'), join(folder, '../model.safetensors'));
    await writeShards(() => shard);
    await refused('refused');
  });

  it('a shard that is missing, and a tensor that its shard lacks', async () => {
    await writeShards(() => 'one.safetensors');
    await refused('one.safetensors: safetensors file not found');
    await writeSafetensors(join(folder, 'one.safetensors'), (await tensors()).slice(1));
    await refused('is missing: expected it there, says the index');
  });

  it('a weight under both its names', async () => {
    const list = await tensors();
    const twin = list.find(({ name }) => name === 'model.norm.weight');
    await writeSafetensors(join(folder, 'model.safetensors'), [
      ...list,
      ...(twin ? [{ ...twin, name: 'norm.weight' }] : []),
    ]);
    await refused('two tensors for model.norm.weight');
  });

  it('an adapter, a pickle, a lone file, nothing', async () => {
    await cp(join(base, 'adapter'), join(folder, 'adapter'), { recursive: true });
    await writeFile(
      join(folder, 'adapter/adapter_config.json'),
      JSON.stringify({ peft_type: 'LORA', r: 2, base_model_name_or_path: join(folder, 'gone') }),
    );
    await expect(openDecoder(join(folder, 'adapter'))).rejects.toThrow(
      /the base model of the adapter is not found: .*gone.*\(name the base: "BASE \+ /,
    );
    await expect(openDecoder(join(folder, 'model.safetensors'))).rejects.toThrow(
      'got a safetensors file alone',
    );
    await expect(openDecoder(join(folder, 'config.json'))).rejects.toThrow(
      'expected a Hugging Face folder or a .gguf file',
    );
    await expect(openDecoder(join(folder, 'nowhere'))).rejects.toThrow('model not found');
    await rm(join(folder, 'model.safetensors'));
    await writeFile(join(folder, 'pytorch_model.bin'), 'x');
    await refused('pickles can run code');
  });
});

describe('folders that are not to be trusted', () => {
  it('a link out of the folder is refused, one inside it and those of the hub cache are followed', async () => {
    const place = await mkdtemp(join(tmpdir(), 'lmvec-links-'));
    const model = join(place, 'model');
    await cp(base, model, { recursive: true });
    await rename(join(model, 'model.safetensors'), join(place, 'outside.safetensors'));
    await symlink('../outside.safetensors', join(model, 'model.safetensors'));
    await expect(openDecoder(model)).rejects.toThrow(
      /model\.safetensors: a link out of the model folder is not followed: got .*outside\.safetensors \(copy the file/,
    );
    const snapshot = join(place, 'models--a--b/snapshots/0123');
    await mkdir(join(place, 'models--a--b/blobs'), { recursive: true });
    await cp(base, snapshot, { recursive: true });
    await rename(join(snapshot, 'model.safetensors'), join(place, 'models--a--b/blobs/x'));
    await symlink('../../blobs/x', join(snapshot, 'model.safetensors'));
    await rename(join(snapshot, 'config.json'), join(snapshot, 'other.json'));
    await symlink('other.json', join(snapshot, 'config.json'));
    await (await openDecoder(snapshot)).weights.close();
    await rm(place, { recursive: true });
  });

  it('so are those of earlier stages and of modules: refused outwards, followed in the hub cache', async () => {
    const place = await mkdtemp(join(tmpdir(), 'lmvec-links-'));
    const golden = join(base, '../..');
    const model = join(place, 'models--a--b/snapshots/0123');
    const blobs = join(place, 'models--a--b/blobs');
    await cp(join(golden, 'peft/chain/simcse'), model, { recursive: true });
    await writeFile(join(model, 'lmvec.json'), '{"previous": ["mntp"]}');
    const stage = join(model, 'previous/mntp');
    await cp(join(golden, 'peft/chain/mntp'), stage, { recursive: true });
    await mkdir(blobs);
    await rename(join(stage, 'adapter_model.safetensors'), join(blobs, 'x'));
    await symlink('../../../../blobs/x', join(stage, 'adapter_model.safetensors'));
    const chain = `${base} + ${model}`;
    await (await openDecoder(chain)).weights.close();
    await rename(stage, join(place, 'mntp'));
    await symlink('../../../../mntp', stage);
    await expect(openDecoder(chain)).rejects.toThrow(/mntp: a link out of the model folder is not followed/);

    const embedder = join(place, 'embedder');
    await cp(join(golden, 'released/bert'), embedder, { recursive: true });
    await rename(join(embedder, '2_Dense/model.safetensors'), join(place, 'dense'));
    await symlink('../../dense', join(embedder, '2_Dense/model.safetensors'));
    await expect(loadEmbeddingModel(embedder)).rejects.toThrow(
      /2_Dense\/model\.safetensors: a link out of the model folder is not followed/,
    );
    await rename(join(embedder, '2_Dense'), join(place, '2_Dense'));
    await symlink('../2_Dense', join(embedder, '2_Dense'));
    await expect(loadEmbeddingModel(embedder)).rejects.toThrow(/2_Dense: a link out of the model folder/);
    await rm(place, { recursive: true });
  });

  it('a weight that is NaN or infinite is named', async () => {
    const place = await mkdtemp(join(tmpdir(), 'lmvec-nan-'));
    await cp(base, place, { recursive: true });
    const path = join(place, 'model.safetensors');
    const bytes = await readFile(path);
    bytes.writeFloatLE(NaN, bytes.length - 8);
    await writeFile(path, bytes);
    const source = await openDecoder(place);
    await expect(loadDecoder(source)).rejects.toThrow(
      /tensor model\.\S+ is damaged: got NaN at place \d+ of \d+, expected finite/,
    );
    await source.weights.close();
    await rm(place, { recursive: true });
  });
});
