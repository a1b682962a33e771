import type { ExportFormat } from '../../pooling/manifest.js';
import { assertNever } from '../../shared/errors.js';
import type { EmbedderGraph } from '../graph.js';
import { fourBit } from './four-bit.js';
import { half } from './half.js';
import { int8 } from './int8.js';
import { rewrite } from './rewrite.js';

/** A float32 graph in another format. @param inFloat32 see `half` */
export function convert(
  graph: EmbedderGraph,
  format: ExportFormat,
  inFloat32?: ReadonlySet<string>,
): EmbedderGraph {
  switch (format) {
    case 'float32':
      return graph;
    case 'fp16':
      return rewrite(graph, half(inFloat32));
    case 'int8':
      return rewrite(graph, int8);
    case 'q4':
      return rewrite(graph, fourBit);
    default:
      return assertNever(format);
  }
}
