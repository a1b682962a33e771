import type { Tensor } from '@tensorflow/tfjs';
import { traceGradient } from '../../compiler/compile.js';
import type { Graph } from '../../compiler/graph.js';
import { mostLiveBytes } from '../../compiler/live-bytes.js';
import { savedBytes, savePolicies, splitGraph, type SavePolicy } from '../../compiler/split.js';
import type { InputSpec } from '../../compiler/trace.js';
import { adapterSites, DROPOUT } from '../../models/block-masks.js';
import { block } from '../../models/block.js';
import { blockPrefix, structureOf, type DecoderConfig } from '../../models/decoder-config.js';
import { loraShapes } from '../../models/lora.js';
import type { TuningConfig } from '../../models/schema.js';
import { blockWeightShapes, isBias } from '../../models/weight-shapes.js';

/** What one block does with one tile, in bytes. */
export interface BlockBytes {
  /** Kept for the backward pass. */
  readonly saved: number;
  /** Keep-masks. */
  readonly masks: number;
  /** Workspace of its programs. */
  readonly forward: number;
  readonly backward: number;
  readonly inference: number;
}

/**
 * Workspace in the most that is alive in our order of the nodes: ONNX Runtime has its own order, and an arena whose pieces do not fit
 * seamlessly. Measured on single programs, blocks of 512 and 576 numbers, 256 to 1024 tokens, LoRA and full tuning: forward 1.6 to 1.9,
 * inference 2.0 to 2.3, backward 1.0 to 1.2, and 1.3 where it recomputes the forward pass; all programs of a run on SmolLM2-135M together
 * take 0.85 of that.
 */
const ARENA = { forward: 1.55, inference: 1.85, backward: 1, recomputing: 1.12 };

/** Rows of the two tiles that are traced; bytes are linear in the rows. */
const TRACED_TOKENS = 128;

/** Measures the blocks of a decoder under a tuning, from their traced graphs. */
export class BlockMeasure {
  private readonly measured = new Map<string, readonly [BlockBytes, BlockBytes]>();

  constructor(
    private readonly config: DecoderConfig,
    private readonly tuning: TuningConfig,
    private readonly attentionDropout: number,
  ) {}

  /** Of a block of one structure, for a tile of `rows` rows of `tokens` tokens. */
  of(
    structure: number,
    { rows, tokens, policy }: { readonly rows: number; readonly tokens: number; readonly policy: SavePolicy },
  ): BlockBytes {
    const few = Math.max(1, Math.floor(TRACED_TOKENS / tokens));
    const [one, two] = this.both(structure, { rows: few, tokens, policy });
    const along = (part: keyof BlockBytes): number =>
      Math.max(0, one[part] + (two[part] - one[part]) * (rows / few - 1));
    return {
      saved: along('saved'),
      masks: along('masks'),
      forward: along('forward'),
      backward: along('backward'),
      inference: along('inference'),
    };
  }

  private both(
    structure: number,
    { rows, tokens, policy }: { readonly rows: number; readonly tokens: number; readonly policy: SavePolicy },
  ): readonly [BlockBytes, BlockBytes] {
    const key = (one: SavePolicy): string => `${structure} ${tokens} ${one}`;
    if (!this.measured.has(key(policy))) {
      const once = this.bytesOf(structure, rows, tokens);
      const twice = this.bytesOf(structure, 2 * rows, tokens);
      for (const one of savePolicies) this.measured.set(key(one), [once[one], twice[one]]);
    }
    return this.measured.get(key(policy)) as readonly [BlockBytes, BlockBytes];
  }

  private bytesOf(structure: number, rows: number, tokens: number): Record<SavePolicy, BlockBytes> {
    const { config, tuning } = this;
    const layer = config.layers.findIndex((one) => one.structure === structure);
    const masks = this.maskShapes(layer, rows, tokens);
    const graph = tracedBlock({ config, tuning, layer, rows, tokens, masks });
    const maskBytes = Object.values(masks).reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
    const of = (policy: SavePolicy): BlockBytes => {
      const { forward, backward, saved } = splitGraph(graph, {
        outputs: ['output'],
        outputGradient: 'outputGradient',
        policy,
      });
      return {
        saved: savedBytes(saved),
        masks: maskBytes,
        forward: mostLiveBytes(forward) * ARENA.forward,
        backward: mostLiveBytes(backward) * (policy === 'blockInputs' ? ARENA.recomputing : ARENA.backward),
        inference: mostLiveBytes(policy === 'blockInputs' ? forward : inferenceOf(graph)) * ARENA.inference,
      };
    };
    return { all: of('all'), matmulOutputs: of('matmulOutputs'), blockInputs: of('blockInputs') };
  }

  /** Shapes of the keep-masks, a byte an element. */
  private maskShapes(layer: number, rows: number, tokens: number): Record<string, readonly number[]> {
    const { config, tuning, attentionDropout } = this;
    const shapes: Record<string, readonly number[]> = {};
    if (attentionDropout > 0) shapes['attention'] = [rows, config.num_attention_heads, tokens, tokens];
    if (tuning.type !== 'lora' || tuning.dropout === 0) return shapes;
    for (const [site, width] of Object.entries(adapterSites(config, layer)))
      shapes[site] = [rows * tokens, width];
    return shapes;
  }
}

function inferenceOf(graph: Graph): Graph {
  return splitGraph(graph, { outputs: ['output'], outputGradient: 'outputGradient', policy: 'blockInputs' })
    .forward;
}

interface TracedBlock {
  readonly config: DecoderConfig;
  readonly tuning: TuningConfig;
  readonly layer: number;
  readonly rows: number;
  readonly tokens: number;
  readonly masks: Readonly<Record<string, readonly number[]>>;
}

/** Block and gradient as the runner compiles them. */
function tracedBlock({ config, tuning, layer, rows, tokens, masks }: TracedBlock): Graph {
  const rope = config.layers[layer]?.rope;
  const angles = [rows, tokens, 1, (config.ropes[rope ?? '']?.dims ?? 0) / 2];
  const weights = blockWeightShapes(config, layer);
  const prefix = blockPrefix(config, layer);
  const adapters =
    tuning.type !== 'lora'
      ? []
      : [...loraShapes(config, tuning)]
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, shape]) => [name.slice(prefix.length), shape] as const);
  const shapes: Record<string, readonly number[]> = {
    x: [rows, tokens, config.hidden_size],
    mask: [rows, 1, tokens, tokens],
    ...(rope === undefined ? {} : { cos: angles, sin: angles }),
    ...weights,
    ...Object.fromEntries(adapters),
  };
  const inputs: Record<string, InputSpec> = {};
  for (const [name, shape] of Object.entries(shapes)) inputs[name] = { shape, type: 'float32' };
  for (const [site, shape] of Object.entries(masks)) inputs[DROPOUT + site] = { shape, type: 'bool' };
  const own = Object.keys(weights);
  const trained = {
    full: own,
    bitfit: own.filter(isBias),
    lora: adapters.map(([name]) => name),
    none: [],
  }[tuning.type];
  return traceGradient(
    (tensors) => {
      const { x, mask, cos, sin, ...params } = tensors as Record<string, Tensor> & {
        x: Tensor;
        mask: Tensor;
      };
      const sites = Object.keys(masks).map((site) => [site, params[DROPOUT + site] as Tensor] as const);
      return block(
        params,
        {
          x,
          mask,
          rotation: cos === undefined || sin === undefined ? undefined : { cos, sin },
          // Shares change no size.
          dropout:
            sites.length === 0
              ? undefined
              : { masks: Object.fromEntries(sites), keepAttention: 0.9, keepAdapter: 0.9 },
          adapterScale: 1,
        },
        structureOf(config, layer),
      );
    },
    inputs,
    { name: 'memory estimate', wrt: ['x', ...trained] },
  );
}
