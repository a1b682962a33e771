import { join } from 'node:path';
import { expect, it } from 'vitest';
import { embedderGraph } from '../../src/export/graph.js';
import { OnnxEmbedder } from '../../src/export/onnx-embedder.js';
import { writeOnnxFile } from '../../src/export/onnx-file.js';
import { createModelEncoder } from '../../src/pooling/packed-encoder.js';
import { largestDifference, modelWith, temporaryFolders } from './models.js';

const temporary = temporaryFolders();

it.each(['mixtral', 'qwen2-moe', 'qwen3-moe', 'olmoe', 'deepseek'])(
  'a mixture of experts is exported as it computes: %s',
  async (family) => {
    const model = await modelWith(
      { attention: 'bidirectional', pooling: { type: 'mean', layer: -1 } },
      `../mixtures/${family}`,
    );
    const graph = embedderGraph(model, { kind: 'all' }, []);
    expect(graph.graph.nodes.filter(({ domain }) => domain !== '')).toEqual([]);
    const path = join(await temporary(), 'model.onnx');
    await writeOnnxFile(path, graph);
    const embedder = await OnnxEmbedder.open(path, { kind: 'all' });
    const encoder = createModelEncoder(model);
    const texts = [17, 1, 6].map((length) => ({
      ids: Int32Array.from({ length }, (_, i) => (i * i + length) % 40),
      pool: new Uint8Array(length).fill(1),
    }));
    const expected = await encoder.encodeTokens(texts);
    for (const side of ['left', 'right'] as const)
      expect(largestDifference((await embedder.run(texts, side)).data, expected.data)).toBeLessThan(1e-5);
    await embedder.dispose();
    await encoder.dispose();
  },
);
