import { chooseDevice, choosePrecision } from './check-device.js';
import type { DeviceChoice } from './device.js';
import type { ComputePrecision } from './precision.js';
import type { RuntimeOptions } from './program.js';

/** What a user says about where and how to run. */
export interface RuntimeChoice {
  /** CPU threads (default: all). */
  readonly threads?: number;
  /** Default auto. */
  readonly device?: DeviceChoice;
  /** What the decoder's blocks multiply in (default float32). */
  readonly computePrecision?: ComputePrecision;
}

/** The same with the device that was found. */
export interface ChosenRuntime extends RuntimeOptions {
  /** Left out where it is float32. */
  readonly computePrecision?: ComputePrecision;
}

/** @throws UserError where the device is missing, with the command that installs it, or has no products of that precision */
export async function chooseRuntime({
  threads,
  device,
  computePrecision,
}: RuntimeChoice): Promise<ChosenRuntime> {
  const chosen = await chooseDevice(device);
  await choosePrecision(chosen, computePrecision);
  return {
    device: chosen,
    ...(threads === undefined ? {} : { threads }),
    ...(computePrecision === undefined || computePrecision === 'float32' ? {} : { computePrecision }),
  };
}
