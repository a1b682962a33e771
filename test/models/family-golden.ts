import { readdirSync, existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { compile, type CompiledFunction } from '../../src/compiler/compile.js';
import type { TensorPool } from '../../src/compiler/pool.js';
import { floats, floatTensor, type HostTensor } from '../../src/compiler/program.js';
import type { TokenizedText } from '../../src/data/batch.js';
import { headName, loadDecoder, type Float32Decoder } from '../../src/models/decoder.js';
import { lastHiddenState, logits } from '../../src/models/output.js';
import type { Pass } from '../../src/models/runner.js';
import type { AttentionMode, WindowMode } from '../../src/models/schema.js';
import { outputShapes } from '../../src/models/weight-shapes.js';
import { openDecoder, openSafetensors } from '../../src/models/weights/index.js';

const folder = new URL('../golden/families/', import.meta.url).pathname;

/** See test/golden/families/make.py. */
export const variants: readonly string[] = readdirSync(folder)
  .filter((name) => existsSync(`${folder}${name}/golden.json`))
  .sort();

export const variantFolder = (variant: string): string => folder + variant;

/** Mixtures of experts. See test/golden/mixtures/make.py. */
export const mixtures = ['mixtral', 'qwen2-moe', 'qwen3-moe', 'olmoe', 'deepseek'] as const;

export const mixtureFolder = (name: string): string =>
  new URL(`../golden/mixtures/${name}`, import.meta.url).pathname;

interface Description {
  readonly hiddenLayers: number;
  readonly lengths: readonly number[];
  readonly texts: readonly (readonly number[])[];
  /** Texts with their ids, special tokens included: of encoders. */
  readonly encoded?: readonly (readonly [string, readonly number[]])[];
  readonly modes: Readonly<
    Record<string, { readonly attention: AttentionMode; readonly window: WindowMode }>
  >;
}

export interface FamilyGolden extends Description {
  readonly decoder: Float32Decoder;
  readonly tokenized: readonly TokenizedText[];
  /** Values of one text in a reference tensor [N, T, ...] (right- or left-padded) or [n, ...]. */
  readonly expected: (name: string, text: number) => Float32Array;
  readonly has: (name: string) => boolean;
}

export async function familyDecoder(path: string): Promise<Float32Decoder> {
  const source = await openDecoder(path);
  try {
    return await loadDecoder(source);
  } finally {
    await source.weights.close();
  }
}

export async function familyGolden(variant: string): Promise<FamilyGolden> {
  const path = variantFolder(variant);
  const golden = JSON.parse(await readFile(`${path}/golden.json`, 'utf8')) as Description;
  const store = await openSafetensors(`${path}/golden.safetensors`);
  const data = new Map<string, Float32Array>();
  for (const name of store.names) data.set(name, await store.read(name));
  await store.close();
  const longest = Math.max(...golden.lengths);
  return {
    ...golden,
    decoder: await familyDecoder(path),
    tokenized: golden.texts.map((ids) => ({
      ids: Int32Array.from(ids),
      pool: new Uint8Array(ids.length).fill(1),
    })),
    has: (name) => data.has(name),
    expected: (name, text) => {
      const all = data.get(name);
      if (all === undefined) throw new Error(`no ${name}`);
      if (name.startsWith('single.')) return all;
      const width = all.length / (golden.texts.length * longest);
      const length = golden.lengths[text] as number;
      const start = text * longest + (name.startsWith('left.') ? longest - length : 0);
      return all.slice(start * width, (start + length) * width);
    },
  };
}

/** Cuts the values of each text out of tiles [R, T, width]. */
export function valuesOfTexts(
  tiles: readonly { readonly tile: Pass['tiles'][number]['tile']; readonly values: HostTensor }[],
): Float32Array[] {
  const result: Float32Array[] = [];
  for (const { tile, values } of tiles) {
    const width = floats(values).length / (tile.rows * tile.tokensPerRow);
    for (const { index, row, start, length } of tile.texts) {
      const from = (row * tile.tokensPerRow + start) * width;
      result[index] = floats(values).slice(from, from + length * width);
    }
  }
  return result;
}

/** From the last block's output to the last hidden state and the logits. */
export class Ends {
  private readonly program: CompiledFunction;

  constructor(
    private readonly decoder: Float32Decoder,
    pool: TensorPool,
  ) {
    const { config } = decoder;
    this.program = compile(
      (inputs) => {
        const hidden = lastHiddenState(inputs, inputs['x']!, config);
        const [rows, tokens, width] = hidden.shape as [number, number, number];
        return {
          hidden,
          logits: logits(inputs['head']!, hidden.reshape([rows * tokens, width]), config),
        };
      },
      { name: 'ends', pool, threads: 1 },
    );
  }

  async run(x: HostTensor): Promise<{ readonly hidden: HostTensor; readonly logits: HostTensor }> {
    const tensor = (name: string): HostTensor =>
      floatTensor(this.decoder.weights.get(name)!, this.decoder.shapes.get(name)!);
    const names = Object.keys(outputShapes(this.decoder.config));
    const result = await this.program.run({
      x,
      ...Object.fromEntries(names.map((name) => [name, tensor(name)])),
      head: tensor(headName(this.decoder)),
    });
    return { hidden: result['hidden']!, logits: result['logits']! };
  }

  release(): Promise<void> {
    return this.program.release();
  }
}
