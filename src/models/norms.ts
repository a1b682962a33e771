import { customGrad, type Tensor } from '@tensorflow/tfjs';
import { assertNever } from '../shared/errors.js';
import type { NormConfig } from './decoder-config.js';
import { param, rmsNorm, type Params } from './layers.js';

/** The norm of x over the last axis; x itself where there is none. */
export function normed(params: Params, x: Tensor, config: NormConfig | undefined): Tensor {
  if (config === undefined) return x;
  const weight = param(params, `${config.name}.weight`);
  switch (config.kind) {
    case 'rms':
      return rmsNorm(x, weight, config.eps);
    case 'rmsPlusOne':
      return rmsNorm(x, weight.add(1), config.eps);
    case 'layer':
      return layerNorm(x, { weight, bias: param(params, `${config.name}.bias`), eps: config.eps });
    case 'layerWithoutBias':
      return layerNorm(x, { weight, bias: undefined, eps: config.eps });
    default:
      return assertNever(config.kind);
  }
}

/** Weights of a norm with their shapes. */
export function normShapes(config: NormConfig): Readonly<Record<string, readonly number[]>> {
  const weight = { [`${config.name}.weight`]: [config.width] };
  return config.kind === 'layer' ? { ...weight, [`${config.name}.bias`]: [config.width] } : weight;
}

/** tfjs' customGrad passes it as the last argument: tensors for the gradient must go through it, others are freed. */
type Save = (tensors: Tensor[]) => void;

/** y = w * (x - mean(x)) / sqrt(variance(x) + eps) + b over the last axis. Ba et al. 2016, eq. 4. */
function layerNorm(
  x: Tensor,
  { weight, bias, eps }: { readonly weight: Tensor; readonly bias: Tensor | undefined; readonly eps: number },
): Tensor {
  const norm = customGrad((...args) => {
    const [source, scale, ...rest] = args as unknown as [Tensor, Tensor, ...unknown[]];
    const [shift, save] = (bias === undefined ? [undefined, ...rest] : rest) as [Tensor | undefined, Save];
    const centred = source.sub(source.mean(-1, true));
    const inverse = centred.square().mean(-1, true).add(eps).rsqrt();
    const normalised = centred.mul(inverse);
    save([scale, inverse, normalised]);
    const scaled = normalised.mul(scale);
    return {
      value: shift === undefined ? scaled : scaled.add(shift),
      gradFunc: (dy: Tensor, saved: Tensor[]) => layerNormGradient(dy, saved, bias !== undefined),
    };
  });
  return bias === undefined ? norm(x, weight) : norm(x, weight, bias);
}

/** dx = r * (g - mean(g) - n * mean(g * n)) with n = (x - mean) * r, g = dy * w */
function layerNormGradient(dy: Tensor, saved: Tensor[], hasBias: boolean): Tensor[] {
  const [scale, inverse, normalised] = saved as [Tensor, Tensor, Tensor];
  const g = dy.mul(scale);
  const dx = g
    .sub(g.mean(-1, true))
    .sub(normalised.mul(g.mul(normalised).mean(-1, true)))
    .mul(inverse);
  const leading = dy.shape.map((_, axis) => axis).slice(0, -1);
  const dw = dy.mul(normalised).sum(leading);
  return hasBias ? [dx, dw, dy.sum(leading)] : [dx, dw];
}
