import type { TensorPool } from '../compiler/pool.js';
import { floats, intTensor, type HostTensor } from '../compiler/program.js';
import type { Answer } from '../models/greedy.js';
import type { Pass } from '../models/runner.js';
import type { ChosenLayers } from './layers.js';

/** Places are rounded up to a multiple of this: few shapes. */
const PLACE_STEP = 64;

/** The hidden states that made some answers, laid end to end as those of one row of texts; to be given back to the pool. */
export function answerStates(
  answers: readonly Answer[],
  { blocks, also }: Pick<ChosenLayers, 'blocks' | 'also'>,
  pool: TensorPool,
): Pass['tiles'][number] {
  const filled = answers.reduce((sum, answer) => sum + answer.places, 0);
  const places = PLACE_STEP * Math.ceil(filled / PLACE_STEP);
  const [positions, segments, ids] = [0, 1, 2].map(() => new Int32Array(places)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  const poolMask = new Uint8Array(places).fill(1, 0, filled);
  let start = 0;
  const texts = answers.map(({ places: length }, index) => {
    const text = { index, row: 0, start, length };
    segments.fill(index + 1, start, start + length);
    for (let place = 0; place < length; place++) positions[start + place] = place;
    start += length;
    return text;
  });
  const stateOf = (depth: number): HostTensor => {
    const width = (answers[0]?.states.get(depth)?.length ?? 0) / (answers[0]?.places ?? 1);
    const state = pool.acquire([1, places, width]);
    const data = floats(state).fill(0);
    let first = 0;
    for (const answer of answers) {
      data.set(answer.states.get(depth) ?? [], first * width);
      first += answer.places;
    }
    return state;
  };
  const tensor = (data: Int32Array): HostTensor => intTensor(data, [1, places]);
  return {
    tile: {
      rows: 1,
      tokensPerRow: places,
      inputIds: tensor(ids),
      positions: tensor(positions),
      segments: tensor(segments),
      poolMask,
      texts,
    },
    hidden: stateOf(blocks),
    also: also.map(stateOf),
  };
}
