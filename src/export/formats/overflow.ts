import { rm } from 'node:fs/promises';
import type { GraphNode } from '../../compiler/graph.js';
import { floats, type RuntimeOptions } from '../../compiler/program.js';
import type { TokenizedText } from '../../data/batch.js';
import type { PooledTokens } from '../../pooling/manifest.js';
import type { EmbedderGraph } from '../graph.js';
import { OnnxEmbedder } from '../onnx-embedder.js';
import { writeOnnxFile } from '../onnx-file.js';
import { half } from './half.js';
import { GraphWriter, rewrite } from './rewrite.js';

/** The largest float16 is 65,504; what other texts may have beyond those measured is left room for. */
const LARGEST = 65504 / 8;

/**
 * The products, by their outputs' names, that float16 might not hold: those with a number above an eighth of its largest among their inputs
 * or results, for any of the texts, one by one and padded. Measured by running the graph with its ranges as one more output.
 *
 * @param scratch a path for the file that is run, removed afterwards
 */
export async function overflowingProducts(
  embedder: EmbedderGraph,
  texts: readonly TokenizedText[],
  {
    scratch,
    pooled,
    runtime,
  }: { readonly scratch: string; readonly pooled: PooledTokens; readonly runtime: RuntimeOptions },
): Promise<ReadonlySet<string>> {
  const weights = new Set(embedder.weights.filter(({ exact }) => exact !== true).map(({ name }) => name));
  const products = embedder.graph.nodes.filter(
    ({ op, inputs }) => op === 'MatMul' && weights.has(inputs[1] ?? ''),
  );
  if (products.length === 0) return new Set();
  try {
    await writeOnnxFile(scratch, withRanges(rewrite(embedder, half('all')), products));
    const session = await OnnxEmbedder.open(scratch, pooled, runtime);
    try {
      const ranges = new Float32Array(products.length);
      const measure = async (batch: readonly TokenizedText[], side: 'left' | 'right'): Promise<void> => {
        for (const [i, range] of floats(await session.value(RANGES, batch, side)).entries())
          ranges[i] = Math.max(ranges[i] as number, range);
      };
      // ONNX Runtime reads the ranges last, and until then holds every number of a run: two texts at a time.
      const longest = texts.reduce((a, b) => (b.ids.length > a.ids.length ? b : a));
      for (const text of texts) {
        await measure([text], 'right');
        if (text.ids.length === longest.ids.length) continue;
        await measure([text, longest], 'right');
        await measure([text, longest], 'left');
      }
      return new Set(
        products.filter((_, i) => !((ranges[i] as number) <= LARGEST)).map(({ output }) => output.name),
      );
    } finally {
      await session.dispose();
    }
  } finally {
    await rm(scratch, { force: true });
    await rm(`${scratch}_data`, { force: true });
  }
}

const RANGES = 'ranges';

/** The graph with one more output [products]: the largest absolute number among each product's input and result. */
function withRanges(embedder: EmbedderGraph, products: readonly GraphNode[]): EmbedderGraph {
  const { graph } = embedder;
  const writer = new GraphWriter('r');
  graph.nodes.forEach((node) => writer.keep(node));
  const flat = writer.constant(BigInt64Array.of(-1n), [1], 'int64');
  const first = writer.constant(BigInt64Array.of(0n), [1], 'int64');
  const zero = writer.constant(Float32Array.of(0), [1], 'float32');
  const one = { shape: [1], type: 'float32' } as const;
  const ranges = products.map(({ inputs, output }) => {
    const [x, y] = [inputs[0] as string, output.name].map((value) =>
      writer.once(`range of ${value}`, () => {
        const list = writer.node('Reshape', [value, flat], { shape: output.shape, type: 'float32' });
        // An expert may have no row, and there is no largest of no numbers.
        const some = writer.node(
          'Concat',
          [list, zero],
          { shape: output.shape, type: 'float32' },
          { attributes: { axis: { kind: 'int', value: 0 } } },
        );
        const sizes = writer.node('Abs', [some], { shape: output.shape, type: 'float32' });
        return writer.node('ReduceMax', [sizes, first], one, {
          attributes: { keepdims: { kind: 'int', value: 1 } },
        });
      }),
    ) as [string, string];
    return writer.node('Max', [x, y], one);
  });
  const output = { name: RANGES, shape: [products.length], type: 'float32' } as const;
  writer.node('Concat', ranges, output, { attributes: { axis: { kind: 'int', value: 0 } } });
  return {
    ...embedder,
    graph: {
      ...graph,
      nodes: writer.nodes,
      constants: new Map([...graph.constants, ...writer.constants]),
      outputs: [...graph.outputs, output],
    },
  };
}
