import { chooseDevice } from './check-device.js';
import type { DeviceChoice } from './device.js';
import type { RuntimeOptions } from './program.js';

/** What a user says about where and how to run. */
export interface RuntimeChoice {
  /** CPU threads (default: all). */
  readonly threads?: number;
  /** Default auto. */
  readonly device?: DeviceChoice;
}

/** The same with the device that was found. @throws UserError where it is missing, with the command that installs it */
export async function chooseRuntime({ threads, device }: RuntimeChoice): Promise<RuntimeOptions> {
  return { device: await chooseDevice(device), ...(threads === undefined ? {} : { threads }) };
}
