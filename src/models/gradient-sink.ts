/** Adds up gradients by parameter name. */
export class GradientSink {
  /**
   * @param gradients where the sums of these names go; others get memory of their own
   * @param factor what every gradient is multiplied by before it is added
   */
  constructor(
    readonly gradients = new Map<string, Float32Array>(),
    private readonly factor = 1,
  ) {}

  /** Adds to the same sums, times a factor: the scale of a loss is taken out here. */
  times(factor: number): GradientSink {
    return new GradientSink(this.gradients, this.factor * factor);
  }

  add(name: string, gradient: Float32Array): void {
    addTo(this.of(name, gradient.length), gradient, this.factor);
  }

  /** Row rows[i] of a table += scale * values[i], but where rows[i] is -1; the table has `length` numbers, `width` in a row. */
  addRows(
    name: string,
    rows: Int32Array,
    {
      length,
      values,
      width,
      scale,
    }: {
      readonly length: number;
      readonly values: Float32Array;
      readonly width: number;
      readonly scale: number;
    },
  ): void {
    const sum = this.of(name, length);
    const factor = scale * this.factor;
    for (const [place, row] of rows.entries()) {
      if (row < 0) continue;
      for (let i = 0; i < width; i++)
        sum[row * width + i] =
          (sum[row * width + i] as number) + factor * (values[place * width + i] as number);
    }
  }

  clear(): void {
    for (const sum of this.gradients.values()) sum.fill(0);
  }

  private of(name: string, length: number): Float32Array {
    let sum = this.gradients.get(name);
    if (sum === undefined) {
      sum = new Float32Array(length);
      this.gradients.set(name, sum);
    }
    return sum;
  }
}

/** sum += factor * values */
export function addTo(sum: Float32Array, values: Float32Array, factor = 1): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + factor * (values[i] as number);
}
