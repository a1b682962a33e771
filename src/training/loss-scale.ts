import { floats, type HostTensor } from '../compiler/program.js';
import type { GradientSink } from '../models/gradient-sink.js';
import type { Pass, Runner } from '../models/runner.js';
import { userError } from '../shared/errors.js';

/** torch.amp.GradScaler's. */
const START = 2 ** 16;
const STEPS_TO_GROW = 2000;
const LARGEST = 2 ** 24;

/** What a checkpoint keeps. */
export interface LossScaleState {
  readonly scale: number;
  /** Steps since the scale last changed. */
  readonly goodSteps: number;
}

/**
 * What gradients are multiplied by while they are halves, so that small ones do not become 0 (Micikevicius et al. 2018, section 3.2). A step whose
 * gradients leave float16 is left out and halves it; after many good ones in a row it doubles. Powers of two, so that taking it out again costs no bit.
 */
export class LossScale {
  private current: LossScaleState = { scale: START, goodSteps: 0 };

  state(): LossScaleState {
    return this.current;
  }

  restore(state: LossScaleState): void {
    this.current = state;
  }

  /** @throws UserError where gradients leave float16 although nothing multiplies them */
  update(finite: boolean): void {
    const { scale, goodSteps } = this.current;
    if (!finite) {
      if (scale <= 1)
        throw userError({
          what: 'gradients leave float16 at a loss scale of 1, so the run was stopped',
          where: 'train.precision',
          got: 'float16',
          expected: 'bfloat16 or float32',
        });
      this.current = { scale: scale / 2, goodSteps: 0 };
    } else if (goodSteps + 1 < STEPS_TO_GROW) this.current = { scale, goodSteps: goodSteps + 1 };
    else this.current = { scale: Math.min(LARGEST, 2 * scale), goodSteps: 0 };
  }
}

/** `Runner.backward` of gradients times `scale`, which the sums do not keep. */
export async function scaledBackward(
  { runner, scale, sink }: { readonly runner: Runner; readonly scale: number; readonly sink: GradientSink },
  pass: Pass,
  hiddenGradients: readonly HostTensor[],
): Promise<void> {
  if (scale === 1) return runner.backward(pass, hiddenGradients, sink);
  for (const gradient of hiddenGradients) {
    const values = floats(gradient);
    for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) * scale;
  }
  return runner.backward(pass, hiddenGradients, sink.times(1 / scale));
}
