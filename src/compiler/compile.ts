import { engine, zerosLike, type Tensor } from '@tensorflow/tfjs';
import { internalError } from '../shared/errors.js';
import { autocast } from './autocast.js';
import { EagerFunction, EagerGradient } from './eager.js';
import type { Graph, TracedType } from './graph.js';
import { subgraph } from './graph.js';
import type { TensorPool } from './pool.js';
import type { ComputePrecision } from './precision.js';
import { Program, type HostTensor, type RuntimeOptions } from './program.js';
import { splitGraph, type SavePolicy, type SplitGraph } from './split.js';
import { trace, type InputSpec, type TensorFunction, type Tensors } from './trace.js';

export type HostTensors = Readonly<Record<string, HostTensor>>;

export interface CompileOptions extends RuntimeOptions {
  /** Named in errors. */
  readonly name: string;
  /** Where outputs come from; release them there when they have been read. The function runs on its device unless `device` says otherwise. */
  readonly pool: TensorPool;
  /** Of matrix products (default float32): see autocast.ts. Inputs may then be fed as float16, whatever the precision. */
  readonly precision?: ComputePrecision;
}

/** A pure function that is ready to run on the pool's device. */
export interface CompiledFunction {
  /** Outputs come from the pool. */
  run(inputs: HostTensors): Promise<Record<string, HostTensor>>;
  release(): Promise<void>;
}

/** Traced and compiled once for each combination of input shapes. */
class TracedFunction implements CompiledFunction {
  private readonly programs = new Map<string, Promise<Program>>();

  constructor(
    private readonly fn: TensorFunction,
    private readonly options: CompileOptions,
  ) {}

  async run(inputs: HostTensors): Promise<Record<string, HostTensor>> {
    const program = await cached(this.programs, shapeKey(inputs), async () => {
      const graph = trace(this.fn, specsOf(inputs), this.options);
      return createProgram(subgraph(graph, graph.outputs), inputs, this.options);
    });
    const into = outputsFor(program, this.options.pool);
    await program.run(inputs, into);
    return into;
  }

  async release(): Promise<void> {
    await releaseAll(this.programs);
  }
}

export function compile(fn: TensorFunction, options: CompileOptions): CompiledFunction {
  return (options.device ?? options.pool.device) === 'tensorflow'
    ? new EagerFunction(fn, options)
    : new TracedFunction(fn, options);
}

/** What a forward pass hands to its backward pass. */
export interface ForwardResult {
  readonly output: HostTensor;
  readonly saved: HostTensors;
}

export interface GradientOptions extends CompileOptions {
  /** Inputs to differentiate by. */
  readonly wrt: readonly string[];
  readonly policy: SavePolicy;
}

interface GradientPrograms {
  readonly split: SplitGraph;
  readonly forward: Program;
  /** Compiled when first used: evaluation never needs it. */
  backward: Promise<Program> | undefined;
}

/** A function of one output and its vector-Jacobian product. */
export interface CompiledGradient {
  /** Runs forward, keeping what the policy says. */
  forward(inputs: HostTensors): Promise<ForwardResult>;
  /** Gradients of sum(output * outputGradient) by the inputs in `wrt`; gives the saved values back to the pool. */
  backward(
    inputs: HostTensors,
    saved: HostTensors,
    outputGradient: HostTensor,
  ): Promise<Record<string, HostTensor>>;
  release(): Promise<void>;
}

/** Two programs with a save policy between them. */
class TracedGradient implements CompiledGradient {
  private readonly programs = new Map<string, Promise<GradientPrograms>>();

  constructor(
    private readonly fn: (inputs: Tensors) => Tensor,
    private readonly options: GradientOptions,
  ) {}

  async forward(inputs: HostTensors): Promise<ForwardResult> {
    const { forward } = await this.compiled(inputs);
    const into = outputsFor(forward, this.options.pool);
    await forward.run(inputs, into);
    const { output, ...saved } = into;
    if (output === undefined) throw internalError('no output');
    return { output, saved };
  }

  async backward(
    inputs: HostTensors,
    saved: HostTensors,
    outputGradient: HostTensor,
  ): Promise<Record<string, HostTensor>> {
    const compiled = await this.compiled(inputs);
    compiled.backward ??= createProgram(compiled.split.backward, inputs, this.options);
    const program = await compiled.backward;
    const into = outputsFor(program, this.options.pool);
    await program.run({ ...inputs, ...saved, outputGradient }, into);
    this.options.pool.release(...Object.values(saved));
    return Object.fromEntries(
      Object.entries(into).map(([name, tensor]) => [name.slice('gradient:'.length), tensor]),
    );
  }

  private compiled(inputs: HostTensors): Promise<GradientPrograms> {
    return cached(this.programs, shapeKey(inputs), async () => {
      const graph = traceGradient(this.fn, specsOf(inputs), this.options);
      const split = splitGraph(graph, {
        outputs: ['output'],
        outputGradient: 'outputGradient',
        policy: this.options.policy,
      });
      const forward = await createProgram(split.forward, inputs, this.options);
      return { split, forward, backward: undefined };
    });
  }

  async release(): Promise<void> {
    for (const compiled of this.programs.values()) {
      const { forward, backward } = await compiled;
      await forward.release();
      await (await backward)?.release();
    }
    this.programs.clear();
  }
}

export function compileGradient(fn: (inputs: Tensors) => Tensor, options: GradientOptions): CompiledGradient {
  return (options.device ?? options.pool.device) === 'tensorflow'
    ? new EagerGradient(fn, options)
    : new TracedGradient(fn, options);
}

/** Joint graph with outputs `output` and `gradient:NAME`, inputs as given plus `outputGradient`. */
export function traceGradient(
  fn: (inputs: Tensors) => Tensor,
  inputs: Readonly<Record<string, InputSpec>>,
  { name, wrt }: { readonly name: string; readonly wrt: readonly string[] },
): Graph {
  // The output's shape is not known before the trace: a first, cheap trace finds it.
  const shape = trace((tensors) => ({ output: fn(tensors) }), inputs, { name }).outputs[0]?.shape;
  if (shape === undefined) throw internalError(`${name} has no output`);
  return trace(
    ({ outputGradient, ...tensors }) => {
      const by = wrt.map((key) => tensors[key] as Tensor);
      const { value, grads } = engine().gradients(() => fn(tensors), by, outputGradient, true);
      const named = wrt.map(
        (key, index) => [`gradient:${key}`, grads[index] ?? zerosLike(by[index] as Tensor)] as const,
      );
      return { output: value, ...Object.fromEntries(named) };
    },
    { ...inputs, outputGradient: { shape, type: 'float32' } },
    { name },
  );
}

/** A scalar loss with its gradients in one program: outputs `loss` and `gradient:NAME`. */
export function compileLoss(
  fn: (inputs: Tensors) => Tensor,
  options: CompileOptions & { readonly wrt: readonly string[] },
): CompiledFunction {
  return compile(lossAndGradients(fn, options.wrt), options);
}

/** What `compileLoss` compiles. */
export function lossAndGradients(
  fn: (inputs: Tensors) => Tensor,
  wrt: readonly string[],
): (inputs: Tensors) => Tensors {
  return (inputs) => {
    const by = wrt.map((key) => inputs[key] as Tensor);
    const { value, grads } = engine().gradients(() => fn(inputs), by, undefined, true);
    const named = wrt.map(
      (key, index) => [`gradient:${key}`, grads[index] ?? zerosLike(by[index] as Tensor)] as const,
    );
    return { loss: value, ...Object.fromEntries(named) };
  };
}

/** A traced graph in the precision that is asked for, ready to run on inputs like these. */
function createProgram(graph: Graph, inputs: HostTensors, options: CompileOptions): Promise<Program> {
  const { precision = 'float32', pool, device = pool.device } = options;
  if (precision === 'float32') return Program.create(graph, options);
  const halved = new Set(Object.keys(inputs).filter((name) => inputs[name]?.type === 'float16'));
  return Program.create(autocast(graph, { precision, halved, emulated: device === 'cpu' }), options);
}

function specsOf(inputs: HostTensors): Record<string, InputSpec> {
  const specs: Record<string, InputSpec> = {};
  for (const [name, tensor] of Object.entries(inputs)) {
    // What is fed as float16 is traced as float32, and cast where it is no operand of a product: see autocast.ts.
    const type = tensor.type === 'float16' ? 'float32' : tensor.type;
    specs[name] = { shape: tensor.dims, type: type as InputSpec['type'] };
  }
  return specs;
}

function shapeKey(inputs: HostTensors): string {
  let key = '';
  for (const [name, { type, dims }] of Object.entries(inputs)) key += `${name}:${type}:${dims.join('x')};`;
  return key;
}

function outputsFor(program: Program, pool: TensorPool): Record<string, HostTensor> {
  const into: Record<string, HostTensor> = {};
  for (const { name, shape, type } of program.outputs) into[name] = pool.acquire(shape, type as TracedType);
  return into;
}

async function cached<T>(programs: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  let program = programs.get(key);
  if (program === undefined) {
    program = make();
    programs.set(key, program);
    program.catch(() => programs.delete(key));
  }
  return program;
}

async function releaseAll(programs: Map<string, Promise<Program>>): Promise<void> {
  for (const program of programs.values()) await (await program).release();
  programs.clear();
}
