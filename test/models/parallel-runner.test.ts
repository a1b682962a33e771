import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type * as Parallel from '../../src/models/parallel-runner.js';
import type * as Sequential from '../../src/models/decoder-runner.js';
import type * as Sink from '../../src/models/gradient-sink.js';
import type * as Pool from '../../src/compiler/pool.js';
import type * as ProgramModule from '../../src/compiler/program.js';
import type * as Lora from '../../src/models/lora.js';
import { packTexts } from '../../src/data/packing.js';
import { loadDecoder } from '../../src/models/decoder.js';
import { dealRows } from '../../src/models/tiles.js';
import { openDecoder } from '../../src/models/weights/index.js';
import { randomise, goldenFolder, randomTexts, relativeDifference } from '../training/tiny.js';

const built = new URL('../../dist/src/models/parallel-runner.js', import.meta.url);

const lengths = (count: number): number[] => Array.from({ length: count }, (_, i) => 3 + ((5 * i) % 13));

/** Worker threads run compiled JavaScript: `npm run build` (part of `npm ci`) makes it. */
describe.skipIf(!existsSync(built))('a decoder on two threads', () => {
  it.each(['float32', 'int8'] as const)(
    'gives the hidden states and gradients of one thread, dropout included: %s',
    async (residentPrecision) => {
      // The engine of dist/, all of it: two copies of tfjs would not know each other's tensors.
      const folder = new URL('../../dist/src/', import.meta.url).href;
      const { ParallelRunner } = (await import(`${folder}models/parallel-runner.js`)) as typeof Parallel;
      const { DecoderRunner } = (await import(`${folder}models/decoder-runner.js`)) as typeof Sequential;
      const { GradientSink } = (await import(`${folder}models/gradient-sink.js`)) as typeof Sink;
      const { TensorPool } = (await import(`${folder}compiler/pool.js`)) as typeof Pool;
      const { floats, floatTensor } = (await import(`${folder}compiler/program.js`)) as typeof ProgramModule;
      const { initialiseLora } = (await import(`${folder}models/lora.js`)) as typeof Lora;

      const source = await openDecoder(goldenFolder('base'));
      const decoder = await loadDecoder(source, { residentPrecision });
      await source.weights.close();
      const trainable = initialiseLora(decoder.config, { rank: 4, alpha: 8, targetModules: 'all' }, 1);
      randomise(trainable.values(), 2);
      const options = {
        decoder,
        attention: 'bidirectional',
        trainable,
        adapterScale: 2,
        policy: 'matmulOutputs',
        attentionDropout: 0.2,
        adapterDropout: 0.1,
        tileTokens: 32,
        threads: 2,
      } as const;
      const batches = packTexts(randomTexts(lengths(14), 5), { maxTokens: 16 });

      const run = async (Runner: typeof DecoderRunner | typeof ParallelRunner) => {
        const pool = new TensorPool();
        const runner = new Runner({ ...options, pool });
        const sink = new GradientSink();
        const states: Float32Array[] = [];
        // Twice, with other parameters the second time: they have to reach the other thread.
        for (const step of [0, 1]) {
          const pass = await runner.forward(batches, { keep: true, dropout: { seed: 3, step } });
          const gradients = pass.tiles.map(({ tile, hidden }) => {
            const { tokensPerRow, texts } = tile;
            const width = hidden.dims[2] as number;
            for (const { index, row, start, length } of texts) {
              const from = (row * tokensPerRow + start) * width;
              states[step * 100 + index] = floats(hidden).slice(from, from + length * width);
            }
            return floatTensor(floats(hidden).slice(), hidden.dims);
          });
          await runner.backward(pass, gradients, sink);
          for (const values of trainable.values()) for (let i = 0; i < values.length; i++) values[i]! *= 1.5;
          runner.parametersChanged();
        }
        for (const values of trainable.values())
          for (let i = 0; i < values.length; i++) values[i]! /= 1.5 * 1.5;
        // A pass that is kept and then given up.
        runner.release(await runner.forward(batches, { keep: true }));
        await runner.dispose();
        return { states: Object.values(states), gradients: sink.gradients };
      };

      const one = await run(DecoderRunner);
      const two = await run(ParallelRunner);
      expect(two.states).toHaveLength(one.states.length);
      one.states.forEach((state, index) =>
        expect(relativeDifference(two.states[index]!, state)).toBeLessThan(1e-5),
      );
      expect(two.gradients.size).toBe(trainable.size);
      for (const [name, gradient] of one.gradients)
        expect(relativeDifference(two.gradients.get(name)!, gradient), name).toBeLessThan(1e-5);
    },
  );
});

describe('dealing rows', () => {
  it('gives every text to one part, whole, and parts of like size', () => {
    const batches = packTexts(randomTexts(lengths(40), 6), { maxTokens: 16 });
    const parts = dealRows(batches, 2);
    const texts = parts.flatMap((part) => part.flatMap((batch) => batch.texts.map(({ index }) => index)));
    expect(texts.sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    const sizes = parts.map((part) =>
      part.reduce((sum, { rows, tokensPerRow }) => sum + rows * tokensPerRow, 0),
    );
    const longest = Math.max(...batches.map(({ tokensPerRow }) => tokensPerRow));
    expect(Math.abs((sizes[0] ?? 0) - (sizes[1] ?? 0))).toBeLessThanOrEqual(longest);
  });
});
