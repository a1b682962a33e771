import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { TensorPool } from '../../src/compiler/pool.js';
import { floatTensor, type HostTensor } from '../../src/compiler/program.js';
import { packTexts, padTexts } from '../../src/data/packing.js';
import { block } from '../../src/models/block.js';
import { blockPrefix, structureOf } from '../../src/models/decoder-config.js';
import { families } from '../../src/models/families/index.js';
import { maskKind, maskName } from '../../src/models/layer-masks.js';
import { lastHiddenState } from '../../src/models/output.js';
import { prelude } from '../../src/models/prelude.js';
import { DecoderRunner } from '../../src/models/decoder-runner.js';
import { tilesOf, type Tile } from '../../src/models/tiles.js';
import { blockWeightShapes } from '../../src/models/weight-shapes.js';
import { relativeDifference } from '../training/tiny.js';
import {
  Ends,
  familyGolden,
  valuesOfTexts,
  variantFolder,
  variants,
  type FamilyGolden,
} from './family-golden.js';

/** Of the vectors' norm; capped scores and logits go through tanh, whose implementations differ. */
const toleranceOf = (variant: string): number => (variant.startsWith('gemma2') ? 1e-4 : 1e-5);

describe.each(variants)('against transformers: %s', (variant) => {
  const pool = new TensorPool();
  const golden = familyGolden(variant);
  const tolerance = toleranceOf(variant);

  it('compiled: hidden states of every layer and logits; padded left and right, packed, single', async () => {
    const { decoder, tokenized, hiddenLayers, modes, expected, has } = await golden;
    const layers = hiddenLayers - 1;
    const ends = new Ends(decoder, pool);
    const layouts = {
      right: [padTexts(tokenized, 'right')],
      left: [padTexts(tokenized, 'left')],
      packed: packTexts(tokenized, { maxTokens: 64 }),
      single: [padTexts(tokenized.slice(0, 1), 'right')],
    };
    for (const [mode, choice] of Object.entries(modes)) {
      const runner = new DecoderRunner({ decoder, ...choice, pool, threads: 1 });
      for (const [layout, batches] of Object.entries(layouts)) {
        const also = Array.from({ length: layers }, (_, depth) => depth);
        const pass = await runner.forward(batches, { keep: false, also });
        for (const depth of also) {
          const name = `right.${mode}.hidden.${depth}`;
          if (!has(name)) continue;
          const states = pass.tiles.map((state) => ({ tile: state.tile, values: state.also[depth]! }));
          for (const [text, values] of valuesOfTexts(states).entries())
            expect(relativeDifference(values, expected(name, text)), `${layout} ${name}`).toBeLessThan(
              tolerance,
            );
        }
        const made: { readonly tile: Tile; readonly hidden: HostTensor; readonly logits: HostTensor }[] = [];
        for (const { tile, hidden } of pass.tiles) made.push({ tile, ...(await ends.run(hidden)) });
        const names = [`right.${mode}.hidden.${layers}`, `${layout}.${mode}.hidden.${layers}`];
        const last = valuesOfTexts(made.map(({ tile, hidden }) => ({ tile, values: hidden })));
        for (const name of names.filter(has))
          for (const [text, values] of last.entries())
            expect(relativeDifference(values, expected(name, text)), `${layout} ${name}`).toBeLessThan(
              tolerance,
            );
        const scores = valuesOfTexts(made.map((state) => ({ tile: state.tile, values: state.logits })));
        const name = `right.${mode}.logits`;
        if (has(name))
          for (const [text, values] of scores.entries())
            expect(relativeDifference(values, expected(name, text)), `${layout} ${name}`).toBeLessThan(
              tolerance,
            );
        runner.release(pass);
      }
      await runner.dispose();
    }
    await ends.release();
  });

  it('eager tfjs: the last hidden state', async () => {
    const made = await golden;
    for (const mode of Object.keys(made.modes)) {
      const last = eagerLastStates(made, mode);
      for (const [text, values] of last.entries()) {
        const reference = made.expected(`right.${mode}.hidden.${made.hiddenLayers - 1}`, text);
        expect(relativeDifference(values, reference), mode).toBeLessThan(tolerance);
      }
    }
  });
});

/** The same functions without tracing, right-padded. */
function eagerLastStates({ decoder, tokenized, modes }: FamilyGolden, mode: string): Float32Array[] {
  const { config } = decoder;
  const choice = modes[mode]!;
  const [tile] = tilesOf([padTexts(tokenized, 'right')], 1 << 20);
  const { inputIds, positions, segments, rows, tokensPerRow } = tile!;
  const padded = tile!;
  return tf.tidy(() => {
    const ints = (data: typeof inputIds): tf.Tensor =>
      tf.tensor(data.data as Int32Array, [rows, tokensPerRow], 'int32');
    const params = Object.fromEntries(
      [...decoder.weights].map(([name, data]) => [name, tf.tensor(data, [...decoder.shapes.get(name)!])]),
    );
    const inputs = { inputIds: ints(inputIds), positions: ints(positions), segments: ints(segments) };
    const shared = prelude({ ...inputs, ...params }, config, choice);
    let x = shared['x']!;
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const rope = config.layers[layer]?.rope;
      const own = Object.fromEntries(
        Object.keys(blockWeightShapes(config, layer)).map((name) => [
          name,
          params[blockPrefix(config, layer) + name]!,
        ]),
      );
      const rotation =
        rope === undefined ? undefined : { cos: shared[`cos:${rope}`]!, sin: shared[`sin:${rope}`]! };
      const mask = shared[maskName(maskKind(config, choice, layer))]!;
      x = block(own, { x, mask, rotation, dropout: undefined, adapterScale: 0 }, structureOf(config, layer));
    }
    const last = lastHiddenState(params, x, config);
    const values = floatTensor(last.dataSync() as Float32Array, last.shape);
    return valuesOfTexts([{ tile: padded, values }]);
  });
}

it('has a variant for every family', () => {
  const types = variants.map((variant) => {
    const config = readFileSync(`${variantFolder(variant)}/config.json`, 'utf8');
    return (JSON.parse(config) as { readonly model_type: string }).model_type;
  });
  // Mixtures of experts and word vectors, which no class of transformers holds, have tests of their own.
  const dense = families.filter(
    ({ modelType, names }) => names.experts === undefined && modelType !== 'word2vec',
  );
  for (const { modelType } of dense) expect(types).toContain(modelType);
});
