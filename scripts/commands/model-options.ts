import type { Argv, InferredOptionTypes, Options } from 'yargs';
import { deviceChoices } from '../../src/compiler/device.js';
import { computePrecisions } from '../../src/compiler/precision.js';
import type { ModelOptions } from '../../src/recipes/open-model.js';
import { userError } from '../../src/shared/errors.js';

/** Options of all commands that open a model. What is left out is the model's own. */
const options = {
  model: {
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe:
      'best/ or last/ of a run, an embedder folder, or a decoder: a folder, a .gguf file, or embedded',
  },
  method: {
    type: 'string',
    requiresArg: true,
    describe: 'a whole way to embed: a name (lmvec methods lists them) or a .yaml file',
  },
  attention: {
    type: 'string',
    requiresArg: true,
    describe: 'causal, bidirectional, or the number of last layers that are bidirectional',
  },
  window: {
    choices: ['keep', 'drop'] as const,
    requiresArg: true,
    describe: 'sliding windows of the decoder',
  },
  pooling: {
    choices: ['first', 'mean', 'weightedMean', 'last', 'eos'] as const,
    requiresArg: true,
    describe: 'how hidden states become one vector',
  },
  layer: {
    type: 'string',
    requiresArg: true,
    describe:
      'which hidden state is pooled; -1: the last, 0: the input embeddings; --layer=1,-1: their average',
  },
  alpha: {
    type: 'number',
    requiresArg: true,
    describe: "weight of the routing's cosine beside the hidden state's (--method moee-sum)",
  },
  prompt: {
    type: 'string',
    requiresArg: true,
    describe: "one of the model's prompts, a preset such as prompt-eol, or a frame with {text} in it",
  },
  task: {
    type: 'string',
    requiresArg: true,
    describe: "the instruction in the place of the prompt's {task}",
  },
  generate: {
    type: 'number',
    requiresArg: true,
    describe:
      "tokens of the decoder's own answer whose hidden states are averaged (--method inbedder; 1: the first)",
  },
  'max-tokens': { type: 'number', requiresArg: true, describe: 'longer texts are cut' },
  dtype: {
    choices: ['float32', 'fp16', 'int8', 'q4'] as const,
    requiresArg: true,
    describe: "which of an embedder folder's ONNX files",
  },
  threads: { type: 'number', requiresArg: true, describe: 'CPU threads' },
  'resident-precision': {
    choices: ['float32', 'stored', 'bfloat16', 'int8', 'int4'] as const,
    requiresArg: true,
    describe: 'how weights lie in memory; stored: as in the file, expanded block by block',
  },
  device: {
    choices: deviceChoices,
    requiresArg: true,
    describe: 'where the model runs',
  },
  'compute-precision': {
    choices: computePrecisions,
    requiresArg: true,
    describe: "what the decoder's blocks multiply in: float16 on cuda and webgpu, bfloat16 on cuda",
  },
} as const satisfies Record<string, Options>;

type ModelArguments = InferredOptionTypes<typeof options>;

export function withModelOptions<T>(yargs: Argv<T>): Argv<T & ModelArguments> {
  return yargs.options(options) as Argv<T & ModelArguments>;
}

/** The options of a command line as `openModel` takes them. @throws UserError */
export function modelOptions(argv: ModelArguments): ModelOptions {
  const attention = parseAttention(argv.attention);
  const layer = parseLayer(argv.layer);
  const maxTokens = whole(argv['max-tokens'], '--max-tokens', 2);
  const generate = whole(argv.generate, '--generate', 1);
  const threads = whole(argv.threads, '--threads', 1);
  if (argv.alpha !== undefined && !(Number.isFinite(argv.alpha) && argv.alpha > 0))
    throw userError({
      what: 'not a weight',
      where: '--alpha',
      got: String(argv.alpha),
      expected: 'a number above 0',
    });
  return {
    model: argv.model,
    ...(argv.method === undefined ? {} : { method: argv.method }),
    ...(attention === undefined ? {} : { attention }),
    ...(argv.window === undefined ? {} : { window: argv.window }),
    ...(argv.pooling === undefined ? {} : { pooling: argv.pooling }),
    ...(layer === undefined ? {} : { layer }),
    ...(argv.alpha === undefined ? {} : { alpha: argv.alpha }),
    ...(argv.prompt === undefined ? {} : { prompt: argv.prompt }),
    ...(argv.task === undefined ? {} : { task: argv.task }),
    ...(generate === undefined ? {} : { generate }),
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(argv.dtype === undefined ? {} : { dtype: argv.dtype }),
    ...(threads === undefined ? {} : { threads }),
    ...(argv['resident-precision'] === undefined ? {} : { residentPrecision: argv['resident-precision'] }),
    ...(argv.device === undefined ? {} : { device: argv.device }),
    ...(argv['compute-precision'] === undefined ? {} : { computePrecision: argv['compute-precision'] }),
  };
}

function parseAttention(text: string | undefined): ModelOptions['attention'] {
  if (text === undefined || text === 'causal' || text === 'bidirectional') return text;
  if (/^[1-9]\d*$/.test(text)) return { lastLayers: Number(text) };
  throw userError({
    what: 'unknown attention',
    where: '--attention',
    got: text,
    expected: 'causal, bidirectional or a number of last layers',
  });
}

function parseLayer(text: string | undefined): ModelOptions['layer'] {
  if (text === undefined) return undefined;
  const layers = text.split(',').map((part) => part.trim());
  if (layers.every((part) => /^-?\d{1,6}$/.test(part)))
    return layers.length === 1 ? Number(layers[0]) : layers.map(Number);
  throw userError({
    what: 'not a layer',
    where: '--layer',
    got: text,
    expected: 'a whole number, or several joined by commas',
  });
}

/** @throws UserError where a number is not whole or too small. */
export function whole(value: number | undefined, where: string, least: number): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return value;
  const expected = `a whole number of at least ${least}`;
  throw userError({ what: 'not a number that can be used', where, got: String(value), expected });
}
