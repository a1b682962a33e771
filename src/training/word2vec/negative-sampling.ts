/** The two tables, [V, D] each, row-major: a word's own vector, and its vector as what is predicted. */
export interface WordTables {
  readonly input: Float32Array;
  readonly output: Float32Array;
  /** D */
  readonly dimensions: number;
}

/** One prediction: `targets[0]` is right, those behind it up to `count` are wrong. */
export interface Prediction {
  /** [D], what predicts. */
  readonly hidden: Float32Array;
  readonly targets: Int32Array;
  readonly count: number;
}

/** What a step of gradient descent left behind. */
export interface PredictionLoss {
  loss: number;
  /** Squared norm of the gradient by the output rows, each row counted by itself. */
  squaredGradient: number;
}

/**
 * One step of negative sampling: `loss = -ln sigmoid(h.v_0) - sum_k ln sigmoid(-h.v_k)` (Mikolov et al. 2013, arXiv:1310.4546, eq. 4).
 * The output rows go down their gradient `(sigmoid(h.v) - label) h` at once; `change` [D] becomes -rate times the gradient by h,
 * `sum (label - sigmoid(h.v)) v`, at the rows as they were.
 */
export function negativeSamplingStep(
  { output, dimensions }: Pick<WordTables, 'output' | 'dimensions'>,
  { hidden, targets, count }: Prediction,
  {
    rate,
    change,
    sum,
  }: { readonly rate: number; readonly change: Float32Array; readonly sum: PredictionLoss },
): void {
  const whole = dimensions - (dimensions % 4);
  let squaredHidden = 0;
  for (let d = 0; d < dimensions; d++) {
    const value = hidden[d] as number;
    squaredHidden += value * value;
    change[d] = 0;
  }
  let loss = 0;
  let product = 1;
  for (let k = 0; k < count; k++) {
    const row = (targets[k] as number) * dimensions;
    // Four sums, so that one addition need not wait for the last.
    let a = 0;
    let b = 0;
    let c = 0;
    let e = 0;
    for (let d = 0; d < whole; d += 4) {
      a += (hidden[d] as number) * (output[row + d] as number);
      b += (hidden[d + 1] as number) * (output[row + d + 1] as number);
      c += (hidden[d + 2] as number) * (output[row + d + 2] as number);
      e += (hidden[d + 3] as number) * (output[row + d + 3] as number);
    }
    for (let d = whole; d < dimensions; d++) a += (hidden[d] as number) * (output[row + d] as number);
    const score = a + b + (c + e);
    // -ln sigmoid(x) = max(-x, 0) + ln(1 + e^-|x|): one power a target, one logarithm a prediction.
    const power = Math.exp(-Math.abs(score));
    const wrong = k === 0 ? -score : score;
    loss += wrong > 0 ? wrong : 0;
    if (product > 1e300) {
      loss += Math.log(product);
      product = 1;
    }
    product *= 1 + power;
    const error = (k === 0 ? 1 : 0) - (score > 0 ? 1 : power) / (1 + power);
    sum.squaredGradient += error * error * squaredHidden;
    const step = error * rate;
    for (let d = 0; d < dimensions; d++) {
      const value = output[row + d] as number;
      change[d] = (change[d] as number) + step * value;
      output[row + d] = value + step * (hidden[d] as number);
    }
  }
  sum.loss += loss + Math.log(product);
}
